"""The tab Dream and draw as a person uses it: draw, stop, continue, save, links, wrong files, sizes."""

from __future__ import annotations

import io
import sys
import threading
import time
from pathlib import Path

import imageio.v3 as iio
import pytest
from PIL import Image

from netlens.playground import _dream_tab
from netlens.playground._dream import grow
from netlens.results import read_provenance
from tests.browser import distorted, nameless, watched

pytestmark = pytest.mark.browser

PICTURE, NOTE = "#dream-sheet .nl-easel > img", "#dream-sheet .nl-easel p"
# a link shows what another test has drawn, unless something but the number of steps tells their drawings apart
LONG = "?tab=dream&what=channel&layer=stem.0&channel=3&options=draw.steps%3D5000%26draw.size%3D64"
SHORT = "?tab=dream&what=channel&layer=stem.0&channel=5&options=draw.steps%3D{0}%26draw.size%3D48%26draw.seed%3D{0}"


def working() -> bool:
    return any(thread.name == "netlens playground" for thread in threading.enumerate())


def stopped(tab) -> float:
    """Press Stop, and give the seconds until nothing computes."""
    start = time.perf_counter()
    tab.evaluate("document.querySelector('#dream-stop').click()")
    while working():
        assert time.perf_counter() - start < 10, "the job goes on"
        time.sleep(0.005)
    return time.perf_counter() - start


def step(tab) -> int:
    words = tab.inner_text(NOTE).split()
    return int(next(word for word in words if word.isdecimal()))


def chosen(tab, name, value):
    """Type a value into the field of an option."""
    field = f"#option-{name} textarea, #option-{name} input"
    tab.fill(field, value)
    tab.press(field, "Tab")
    tab.wait_for_function(f"location.search.includes('{name.replace('-', '.')}%3D{value}')")


def test_a_channel_grows_stops_and_goes_on(tab, address):
    tab.goto(address)
    tab.click("role=tab[name='Dream and draw']")
    tab.wait_for_selector("#dream-source", state="hidden")
    tab.wait_for_selector("#dream-stop:disabled")
    assert tab.is_disabled("#dream-more")
    tab.fill("#dream-channel input", "2")
    tab.press("#dream-channel input", "Tab")
    tab.click("#dream-form button")
    chosen(tab, "draw-size", "48")
    chosen(tab, "draw-steps", "1500")
    tab.click("#dream-run")
    tab.wait_for_selector(PICTURE)
    pictures: set[str] = set()
    tab.wait_for_selector("#dream-stop:enabled")
    assert tab.is_disabled("#dream-more")
    while len(pictures) < 4:
        pictures.add(tab.get_attribute(PICTURE, "src"))
        assert "of 1500" in tab.inner_text(NOTE)
        tab.wait_for_timeout(50)
    sys.stdout.write(f"\nstop: {stopped(tab):.2f} s\n")
    tab.wait_for_selector("#dream-sheet >> text=stopped at")
    picture, at = tab.get_attribute(PICTURE, "src"), step(tab)
    tab.wait_for_timeout(700)
    assert (tab.get_attribute(PICTURE, "src"), step(tab)) == (picture, at)  # what was done stays
    tab.click("#dream-more")
    tab.wait_for_function(f"document.querySelector('{NOTE}').textContent.startsWith('step ')")
    assert step(tab) >= at
    stopped(tab)
    tab.wait_for_selector("#dream-sheet >> text=stopped at")
    chosen(tab, "draw-steps", "20")  # of another drawing, which is done soon
    chosen(tab, "draw-seed", "7")
    tab.click("#dream-run")
    tab.wait_for_selector("#dream-sheet >> text=20 steps")
    tab.click("#dream-more")
    tab.wait_for_selector("#dream-sheet >> text=40 steps")


def test_continue_and_the_lines_belong_to_the_sheet_of_the_page(tab, address, browser):
    tab.goto(address + SHORT.format(34))
    tab.wait_for_selector("#dream-more:enabled")
    tab.click("#dream-code-of-sheet button")
    tab.wait_for_selector("#dream-code-of-sheet >> text=This picture, in a notebook")
    tab.fill("#dream-channel input", "6")
    tab.press("#dream-channel input", "Tab")
    tab.wait_for_selector("#dream-code-of-sheet >> text=What the fields say now")
    tab.wait_for_selector("#dream-more:disabled")
    tab.fill("#dream-channel input", "5")
    tab.press("#dream-channel input", "Tab")
    tab.wait_for_selector("#dream-code-of-sheet >> text=This picture, in a notebook")
    tab.wait_for_selector("#dream-more:enabled")
    with watched(browser, address) as other:  # its fields come to say the same, and its sheet is empty
        other.goto(address)
        other.wait_for_selector("#predictions .nl-bars li")
        other.click("role=tab[name='Dream and draw']")
        other.click("#dream-code-of-sheet button")
        other.fill("#dream-layer input", "stem.0")
        other.press("#dream-layer input", "Enter")
        other.fill("#dream-channel input", "5")
        other.press("#dream-channel input", "Tab")
        other.click("#dream-form button")
        for name, value in (("steps", "34"), ("size", "48"), ("seed", "34")):
            chosen(other, f"draw-{name}", value)
        other.wait_for_selector("#dream-code >> text=seed")
        assert other.is_disabled("#dream-more")
        assert other.is_visible("#dream-code-of-sheet >> text=What the fields say now")


def test_a_channel_has_no_fields_of_a_picture(tab, address):
    tab.goto(address)
    tab.wait_for_selector("#predictions .nl-bars li")
    tab.wait_for_timeout(500)  # what comes when the page is open comes before the tab is shown
    tab.click("role=tab[name='Dream and draw']")
    tab.wait_for_selector("#dream-channel input")
    tab.wait_for_timeout(300)
    assert not tab.is_visible("#dream-source")
    assert not tab.is_visible("#dream-class")
    for what, visible in (("dream", True), ("class", False), ("inversion", True), ("channel", False)):
        tab.check(f"#dream-what input[value={what}]")
        tab.wait_for_selector("#dream-source", state="visible" if visible else "hidden")
        if visible:
            tab.wait_for_selector("#dream-photo img")


@pytest.mark.parametrize("steps", ["60", "0"])
def test_stop_shows_what_was_drawn_and_not_what_the_fields_say(tab, address, steps):
    tab.goto(address + LONG)
    tab.wait_for_selector(PICTURE)
    tab.evaluate(
        """([channel, options]) => [['#dream-channel input', channel], ['#dream-options textarea', options]].forEach(
            ([field, value]) => {
                const element = document.querySelector(field);
                element.value = value;
                element.dispatchEvent(new Event('input', {bubbles: true}));
            }
        )""",
        ["4", f"draw.steps={steps}"],
    )
    tab.wait_for_function(f"/channel=4&.*steps%3D{steps}$/.test(location.search)")
    assert "of 5000" in tab.inner_text(NOTE)
    stopped(tab)
    tab.wait_for_selector("#dream-sheet >> text=stopped at")
    assert "stem.0:3" in tab.inner_text("#dream-sheet")
    assert tab.locator("#dream-sheet .nl-plain a").count() == 3


def test_a_drawing_that_failed_is_no_longer_being_drawn(tab, address, monkeypatch):
    def failing(studio, wish, show, after=None):
        looks = []

        def look(drawing):
            looks.append(drawing)
            show(drawing)
            if len(looks) == 3:
                raise MemoryError

        grow(studio, wish, look, after)

    monkeypatch.setattr(_dream_tab, "grow", failing)
    tab.goto(address + LONG.replace("size%3D64", "size%3D65"))
    tab.wait_for_selector(".toast-wrap >> text=not enough memory")
    tab.wait_for_selector("#dream-sheet >> text=stopped at")
    assert tab.locator("#dream-sheet .nl-plain a").count() == 3


def test_drawing_again_leaves_the_files_of_another_tab(tab, address, browser):
    link = address + SHORT.format(33)
    tab.goto(link)
    tab.wait_for_selector("#dream-sheet >> text=33 steps")
    file = tab.get_attribute("#dream-sheet a[href$='.png']", "href")
    before = tab.request.get(address + file)
    with watched(browser, address) as other:
        other.goto(link)
        other.wait_for_selector("#dream-sheet .nl-plain a")
        other.click("#dream-more")
        other.wait_for_selector("#dream-sheet >> text=66 steps")
        other.click("#dream-run")
        other.wait_for_selector("#dream-sheet >> text=33 steps")
        other.wait_for_selector("#dream-sheet .nl-plain a")
        assert other.get_attribute("#dream-sheet a[href$='.png']", "href") != file
    after = tab.request.get(address + file)
    assert before.ok and after.ok and before.body() == after.body()


def test_the_picture_and_its_films_are_saved(tab, address, tmp_path):
    tab.goto(address + SHORT.format(30))
    tab.wait_for_selector("#dream-sheet >> text=30 steps")
    files = {}
    for kind in ("png", "gif", "mp4"):
        with tab.expect_download() as download:
            tab.click(f"#dream-sheet a[href$='.{kind}']")
        assert download.value.suggested_filename.endswith(f".{kind}")
        files[kind] = Path(download.value.path()).read_bytes()
    (tmp_path / "one.png").write_bytes(files["png"])
    provenance = read_provenance(tmp_path / "one.png")
    assert provenance.objective == "channel('stem.0', [5])" and provenance.options["steps"] == 30
    with Image.open(io.BytesIO(files["gif"])) as film:
        assert film.n_frames > 20
    assert len(iio.imread(files["mp4"], plugin="FFMPEG", extension=".mp4")) > 30


def test_a_link_opens_the_form_and_shows_what_was_drawn(tab, address, browser):
    tab.goto(address + SHORT.format(31))
    tab.wait_for_selector("#dream-sheet >> text=31 steps")
    picture = tab.get_attribute(PICTURE, "src")
    with watched(browser, address) as other:
        other.goto(tab.url)
        other.wait_for_selector("#dream-sheet >> text=31 steps")
        assert other.get_attribute(PICTURE, "src") == picture
        assert other.input_value("#dream-layer input") == "stem.0"
        assert other.input_value("#dream-channel input") == "5"
        other.click("#dream-form button")
        assert other.input_value("#option-draw-steps textarea, #option-draw-steps input") == "31"


@pytest.mark.parametrize(
    ("what", "query"),
    [
        ("class", "class=3%3A+striped+heart&options=draw.steps%3D8%26draw.size%3D48"),
        ("dream", "layer=stem.2&picture=scene+1&options=dream.steps%3D2%26dream.size%3D96"),
        ("inversion", "layer=stem.2&picture=scene+1&options=invert.steps%3D8%26invert.size%3D48"),
    ],
)
def test_every_kind_is_drawn_with_its_own_fields(tab, address, what, query):
    tab.goto(f"{address}?tab=dream&what={what}&{query}")
    tab.wait_for_selector("#dream-sheet .nl-plain a")
    tab.click("#dream-form button")
    name = {"class": "draw", "dream": "dream", "inversion": "invert"}[what]
    tab.wait_for_selector(f"#option-{name}-steps")
    assert tab.is_visible("#dream-class") == (what == "class")
    assert tab.is_visible("#dream-layer") == (what != "class")
    assert tab.is_visible("#dream-source") == (what != "class")
    assert not tab.is_visible("#dream-channel")
    before = step(tab)
    tab.click("#dream-more")
    tab.wait_for_function(f"document.querySelector('{NOTE}').textContent.startsWith('{2 * before} steps')")


def test_options_are_checked_when_it_is_drawn(tab, address):
    tab.goto(address)
    tab.click("role=tab[name='Dream and draw']")
    tab.click("#dream-form button")
    chosen(tab, "draw-steps", "0")
    tab.click("#dream-run")
    tab.wait_for_selector("text=steps is 0, but must be a whole number")
    chosen(tab, "draw-steps", "5")
    chosen(tab, "draw-seed", "11")
    tab.wait_for_selector("#dream-more:disabled")  # nothing of this kind was drawn
    tab.wait_for_selector("#dream-stop:disabled")  # the error has ended the job
    assert "Traceback" not in tab.inner_text("body")


def test_own_pictures_and_wrong_files(tab, address, tmp_path):
    Image.new("RGB", (90, 60), "orange").save(tmp_path / "mine.png")
    (tmp_path / "wrong.jpg").write_text("no picture")
    tab.goto(address + "?tab=dream&what=dream&layer=stem.2&options=dream.steps%3D2%26dream.size%3D64")
    tab.wait_for_selector("#dream-sheet .nl-plain a")
    field = "#dream-file input[type=file]"
    tab.set_input_files(field, tmp_path / "wrong.jpg")
    tab.wait_for_selector("text=is no picture that can be read")
    tab.wait_for_selector(field, state="attached")
    tab.set_input_files(field, tmp_path / "mine.png")
    tab.wait_for_function("document.querySelector('#dream-picture input').value.startsWith('mine')")
    tab.click("#dream-run")
    tab.wait_for_selector("#dream-sheet >> text=on mine")
    tab.wait_for_selector("#dream-sheet .nl-plain a")
    assert not distorted(tab)


def test_a_channel_is_drawn_from_its_page(tab, address):
    tab.goto(address + "?tab=look&see=stem.0:4")
    tab.click("text=draw this channel")
    tab.wait_for_selector("#dream-sheet >> text=stem.0:4")
    assert tab.input_value("#dream-channel input") == "4"
    stopped(tab)


def test_a_closed_tab_ends_its_drawing(browser, address):
    with watched(browser, address) as tab:
        tab.goto(address + LONG.replace("size%3D64", "size%3D66"))
        tab.wait_for_selector(PICTURE)
        assert working()
    start = time.perf_counter()
    while working():
        assert time.perf_counter() - start < 15, "the job goes on"
        time.sleep(0.01)


def test_what_makes_no_sense_is_told_in_one_line(tab, address):
    for link, message in (
        ("what=channel&layer=nothing", "has no layer 'nothing'"),
        ("what=channel&layer=stem.0&channel=99", "99"),
        ("what=class&class=nobody", "nobody"),
        ("what=dream&picture=../x", "is not here, or no longer"),
        ("what=anything", "anything"),
        ("what=channel&layer=nothing&channel=nan", "has no layer 'nothing'"),
        (f"layer=stem.0&options={2001 * 'x'}", "options has 2001 letters"),
    ):
        tab.goto(f"{address}?tab=dream&{link}")
        tab.wait_for_selector(f":is(.toast-wrap, .nl-hint) >> text={message} >> nth=0")
        assert "Traceback" not in tab.inner_text("body")


@pytest.mark.parametrize("what", ["channel", "dream"])
@pytest.mark.parametrize("width", [400, 1600])
def test_every_control_has_a_name_and_nothing_is_wider_than_the_window(browser, address, width, what):
    queries = {
        "channel": SHORT.format(9)[1:],
        "dream": "tab=dream&what=dream&options=dream.steps%3D2%26dream.size%3D64",
    }
    with watched(browser, address, viewport={"width": width, "height": 900}) as tab:
        tab.goto(f"{address}?{queries[what]}")
        tab.wait_for_selector("#dream-sheet .nl-plain a")
        tab.click("#dream-form button")
        tab.wait_for_selector("#dream-form [id^=option]")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert not nameless(tab)


def memory() -> float:
    """The memory of this process, in MB; the playground runs in it."""
    line = next(line for line in Path("/proc/self/status").read_text().split("\n") if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def test_nothing_grows_over_many_drawings(tab, address):
    tab.goto(address + SHORT.format(4))
    tab.wait_for_selector("#dream-sheet .nl-plain a")
    sizes = []
    for _ in range(100):
        tab.evaluate("document.querySelector('#dream-sheet').querySelector('.nl-plain').remove()")
        tab.click("#dream-run")
        tab.wait_for_selector("#dream-sheet .nl-plain a")
        sizes.append(memory())
    sys.stdout.write(f"\nmemory after 30 and 100 drawings: {sizes[29]:.0f} and {sizes[-1]:.0f} MB\n")
    assert sizes[-1] - sizes[29] < 40

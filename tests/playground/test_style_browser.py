"""The tab Style as a person uses it: paint, stop, choose a run, go on from it, masks, a batch and its file, links."""

from __future__ import annotations

import json
import sys
import threading
import time

import pytest
from PIL import Image

from tests.browser import nameless, watched
from tests.cli.commands import run as run_command

pytestmark = pytest.mark.browser

QUICK = "?tab=style&picture=scene+1&styles=mosaic&options=style.steps%3D6%26style.size%3D64%26style.scales%3D1"
ENDLESS = QUICK.replace("steps%3D6", "steps%3D100000").replace("size%3D64", "size%3D256")
ROWS = "#style-runs tbody tr"


@pytest.fixture(autouse=True)
def patient(tab):
    tab.set_default_timeout(90_000)  # other programs may need the machine too


def opened(tab, address, link=QUICK):
    tab.goto(address + link)
    tab.wait_for_selector("#option-style-steps")
    tab.wait_for_selector("#style-chosen figure >> nth=1")


def idle():
    while any(thread.name == "netlens playground" for thread in threading.enumerate()):
        time.sleep(0.05)


def paint(tab, count):
    """Paint, and wait until the table has so many runs and the last one is shown in full."""
    tab.click("#style-run")
    tab.wait_for_selector(f"#style-one >> text=Run {count}:")
    assert tab.locator(ROWS).count() == count


def value(tab, name):
    return tab.input_value(f"#{name} textarea, #{name} input")


def test_paint_choose_and_go_on(tab, address, tmp_path):
    opened(tab, address)
    start = time.perf_counter()
    tab.click("#style-run")
    tab.wait_for_selector("#style-live .nl-easel, #style-one .nl-easel")
    sys.stdout.write(f"\nthe first frame of a style: {time.perf_counter() - start:.2f} s\n")
    tab.wait_for_selector("#style-one >> text=Run 1:")
    assert "steps 6, size 64, scales 1" in tab.inner_text(ROWS)
    with tab.expect_download() as download:
        tab.click("#style-one >> text=PNG")
    download.value.save_as(tmp_path / "run.png")
    assert Image.open(tmp_path / "run.png").size == (64, 64)

    # its picture is the next start, and its settings come back into the fields
    tab.click("#style-as-start")
    tab.wait_for_function("document.querySelector('#style-start input').value.startsWith('run 1')")
    tab.fill("#option-style-steps input, #option-style-steps textarea", "3")
    tab.press("#option-style-steps input, #option-style-steps textarea", "Tab")
    tab.wait_for_function("location.search.includes('steps%3D3')")
    paint(tab, 2)
    assert "start run 1" in tab.inner_text(f"{ROWS} >> nth=0")
    tab.click(f"{ROWS} >> nth=1")
    tab.wait_for_selector("#style-one >> text=Run 1:")
    tab.wait_for_selector(f"{ROWS}[aria-current] >> nth=0")
    tab.click("#style-again")
    tab.wait_for_function("location.search.includes('steps%3D6')")
    tab.wait_for_function("document.querySelector('#style-start input').value === 'content'")
    tab.wait_for_function("document.querySelector('#option-style-steps :is(input, textarea)').value === '6'")

    # what this tab has painted is there after the page is loaded again
    tab.reload()
    tab.wait_for_selector(f"{ROWS} >> nth=1")


def test_stop_keeps_what_was_seen(tab, address):
    opened(tab, address, ENDLESS)
    tab.click("#style-run")
    tab.wait_for_selector("#style-live .nl-easel")
    tab.wait_for_selector(f"{ROWS} >> text=being painted")
    assert "press Paint" not in tab.inner_text("#style-one")
    tab.click("#style-stop")
    idle()
    tab.wait_for_selector("#style-one >> text=stopped after")
    tab.wait_for_selector("#style-live", state="hidden")
    assert "stopped after" in tab.inner_text(ROWS)


def test_a_mask_is_painted_over_the_content_by_hand_and_by_keys(tab, address):
    opened(tab, address)
    tab.click("#style-masking button")
    tab.wait_for_selector("#style-board canvas")
    board = tab.locator("#style-board canvas")
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    tab.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"])
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.5 * box["height"], steps=5)
    tab.mouse.up()
    by_hand = value(tab, "style-masks")
    assert by_hand.startswith("data:image/png;base64,")
    tab.focus("#style-board .nl-brush")
    for key in ("ArrowDown", "ArrowLeft", " "):
        tab.keyboard.press(key)
    assert value(tab, "style-masks") != by_hand
    paint(tab, 1)
    assert "mosaic with masks" in tab.inner_text(ROWS)
    tab.click("#style-board button")
    assert value(tab, "style-masks") == ""
    paint(tab, 2)
    assert "with masks" not in tab.inner_text(f"{ROWS} >> nth=0")


def test_a_grid_is_a_batch_that_the_command_line_and_the_page_paint(tab, address, tmp_path):
    opened(tab, address)
    tab.click("#style-grid button")
    for field, values in (("#style-values-1", "0.2, 1"), ("#style-values-2", "gram")):
        tab.fill(f"{field} input, {field} textarea", values)
        tab.press(f"{field} input, {field} textarea", "Tab")
    tab.wait_for_selector("#style-plan >> text=2 pictures")
    with tab.expect_download() as download:
        tab.click("#style-plan a")
    download.value.save_as(tmp_path / "batch.zip")
    result = run_command("stylize", "--batch", tmp_path / "batch.zip", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").glob("*/*/result.jpg"))) == 2

    tab.click("#style-grid-run")
    tab.wait_for_selector("#style-one >> text=Run 2:")
    tab.set_input_files("#style-batch-file input[type=file]", tmp_path / "batch.zip")
    tab.wait_for_selector("#style-one >> text=Run 4:")
    losses = [tab.inner_text(f"{ROWS} >> nth={row} >> td[data-name=style]") for row in range(4)]
    assert losses[:2] == losses[2:] and losses[0] != losses[1]
    assert tab.locator("#style-runs").bounding_box()["y"] < tab.locator("#style-sheet-make").bounding_box()["y"]
    tab.click("#style-sheet-make")
    tab.wait_for_selector("#style-sheet img")
    with tab.expect_download() as download:
        tab.click("#style-sheet >> text=JPEG")
    download.value.save_as(tmp_path / "sheet.jpg")
    assert Image.open(tmp_path / "sheet.jpg").width > 400


def test_wrong_files_and_settings_are_told_in_one_line(tab, address, tmp_path):
    (tmp_path / "wrong.zip").write_bytes(b"nothing")
    pairs = [{"content": "/etc/hostname", "style": "scene 1.png"}]
    (tmp_path / "out.json").write_text(json.dumps({"pairs": pairs}))
    opened(tab, address)
    tab.click("#style-grid button")
    for name, message in (("wrong.zip", "is no .zip that can be read"), ("out.json", "leads out of the folder")):
        tab.set_input_files("#style-batch-file input[type=file]", tmp_path / name)
        tab.wait_for_selector(f"text={message}")
        assert str(tmp_path) not in tab.inner_text("body")
    opened(tab, address, QUICK.replace("size%3D64", "size%3D0"))
    tab.click("#style-run")
    tab.wait_for_selector("text=size is 0, but must be")
    assert "Traceback" not in tab.inner_text("body")


def test_a_link_sets_the_form_and_starts_nothing(tab, browser, address):
    link = (
        "?tab=style&picture=scene+4&styles=dots~scene+2&start=noise&options=style.steps%3D7%26style.color%3Dluminance"
    )
    opened(tab, address, link)
    tab.wait_for_selector("#style-chosen figure >> nth=2")
    assert tab.input_value("#style-picture input") == "scene 4"
    assert tab.input_value("#style-start input") == "noise"
    assert tab.input_value("#option-style-steps input, #option-style-steps textarea") == "7"
    assert tab.input_value("#option-style-color input") == "luminance"
    assert not any(thread.name == "netlens playground" for thread in threading.enumerate())
    assert tab.locator(ROWS).count() == 0
    with watched(browser, address) as other:
        other.set_default_timeout(90_000)
        opened(other, address, "?" + tab.url.partition("?")[2])
        assert other.input_value("#style-picture input") == "scene 4"


@pytest.mark.parametrize("width", [400, 1600])
def test_every_control_has_a_name_and_nothing_is_wider_than_the_window(browser, address, width):
    with watched(browser, address, viewport={"width": width, "height": 900}) as tab:
        tab.set_default_timeout(90_000)
        opened(tab, address)
        paint(tab, 1)
        for accordion in ("#style-masking button", "#style-grid button", "#style-code button"):
            tab.click(f"{accordion} >> nth=0")
        tab.wait_for_selector("#style-board canvas")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert not nameless(tab)

"""A picture that was dropped in one tab is offered in all others, also after Back."""

from __future__ import annotations

import pytest
from PIL import Image

pytestmark = pytest.mark.browser

NOTE = "text=works only while it is there"


def dropped(tab, where, path, color="orange"):
    Image.new("RGB", (90, 60), color).save(path)
    tab.set_input_files(f"#{where} input[type=file]", path)


def opened(tab, title):
    tab.click(f"role=tab[name='{title}']")


def soon_offered(tab, picker, names):
    """Wait until a list offers these names beside those of the playground."""
    for _ in range(50):
        if offered(tab, picker) == names:
            return
        tab.wait_for_timeout(100)
    assert offered(tab, picker) == names


def offered(tab, picker):
    tab.wait_for_selector(f"#{picker} input")
    tab.evaluate("document.activeElement.blur()")  # a list that gets new choices closes, and opens at a new focus only
    tab.click(f"#{picker} input")
    tab.wait_for_selector("ul[role=listbox] li")
    names = [name.strip().removeprefix("✓").strip() for name in tab.locator("ul[role=listbox] li").all_inner_texts()]
    tab.keyboard.press("Escape")
    tab.wait_for_selector("ul[role=listbox]", state="detached")
    return {name.partition(" ·")[0] for name in names if "·" in name}


def test_all_tabs_offer_what_was_dropped_in_one(tab, address, tmp_path):
    tab.goto(address)
    tab.wait_for_selector("#predictions .nl-bars li")
    opened(tab, "Look inside")
    tab.wait_for_selector("#look-photo img")
    opened(tab, "Explain")
    dropped(tab, "explain-file", tmp_path / "mine.png")
    tab.wait_for_function("document.querySelector('#explain-picture input').value.startsWith('mine')")
    tab.wait_for_function("location.search.includes('picture=mine')")

    opened(tab, "Look inside")  # where a picture was seen already, it stays
    assert tab.input_value("#look-picture input") == "scene 0"
    soon_offered(tab, "look-picture", {"mine"})
    assert tab.evaluate("new URL(location).searchParams.get('tab')") == "look"
    opened(tab, "Dream and draw")
    tab.check("#dream-what input[value=dream]")
    tab.wait_for_selector("#dream-picture input")
    assert tab.input_value("#dream-picture input").startswith("mine")
    soon_offered(tab, "dream-picture", {"mine"})

    opened(tab, "Style")
    tab.wait_for_selector("#style-chosen img >> nth=1")
    assert tab.input_value("#style-picture input").startswith("mine")
    dropped(tab, "style-style-file", tmp_path / "style.png", "blue")
    tab.wait_for_function("location.search.includes('styles=style')")
    for picker in ("style-picture", "style-start"):
        soon_offered(tab, picker, {"mine", "style"})

    with tab.expect_event("load"):  # the page is loaded again
        tab.go_back()
    tab.wait_for_function("window.netlensOpened")
    tab.wait_for_selector("#dream-picture input")
    soon_offered(tab, "dream-picture", {"mine", "style"})
    opened(tab, "Look inside")
    assert tab.input_value("#look-picture input") == "scene 0"
    soon_offered(tab, "look-picture", {"mine", "style"})


def test_what_is_said_of_an_own_picture_goes_with_it(tab, address, tmp_path):
    tab.goto(address)
    tab.wait_for_selector("#predictions .nl-bars li")
    place = tab.locator("#explain-file").bounding_box()
    dropped(tab, "explain-file", tmp_path / "mine.png")
    tab.wait_for_selector(NOTE)
    assert tab.locator("#explain-file").bounding_box()["x"] == place["x"]  # it stays where it was
    tab.fill("#explain-picture input", "scene 3")
    tab.press("#explain-picture input", "Enter")
    tab.wait_for_selector(NOTE, state="detached")

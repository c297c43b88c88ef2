"""Back and Forward: moves on the page are entries of the browser's history."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser

DREAM = "?tab=dream&layer=stem.2&picture=scene+1&options=dream.steps%3D1%26dream.size%3D64%26draw.steps%3D1"


def selected(tab, title):
    tab.wait_for_selector(f"role=tab[name='{title}'][selected]")


def see(tab):
    return tab.evaluate("new URL(location).searchParams.get('see')")


def test_back_takes_back_a_channel_a_layer_and_a_tab(tab, address):
    tab.goto(address)
    tab.wait_for_selector("#predictions .nl-bars li")
    tab.click("role=tab[name='Look inside']")
    tab.wait_for_function("location.search.includes('tab=look')")
    tab.click("#look-layers a[data-say='stem.0']")
    tab.click("#look-page figure a >> nth=0")
    tab.wait_for_selector("#look-page >> text=Incoming channels")
    assert see(tab).startswith("stem.0:")
    channel = see(tab)
    tab.click("#look-stop")

    tab.go_back()
    tab.wait_for_selector("#look-page >> text=Strongest channels")
    assert see(tab) == "stem.0"
    tab.go_back()
    tab.wait_for_selector("#look-page >> text=Click on a layer")
    selected(tab, "Look inside")
    tab.go_back()
    tab.wait_for_selector("#predictions .nl-bars li")
    selected(tab, "Explain")
    assert tab.url == address
    tab.go_forward()
    selected(tab, "Look inside")
    tab.go_forward()
    tab.wait_for_selector("#look-page >> text=Strongest channels")
    tab.go_forward()
    tab.wait_for_selector("#look-page >> text=Incoming channels")
    assert see(tab) == channel
    tab.click("#look-stop")


def test_a_kind_of_drawing_is_an_entry_and_a_picture_is_none(tab, address):
    tab.goto(address + DREAM)
    tab.wait_for_selector("#dream-sheet .nl-plain a")
    tab.wait_for_function("location.search.includes('what=channel')")
    entries = tab.evaluate("history.length")
    tab.check("#dream-what input[value=dream]")
    tab.wait_for_function("location.search.includes('what=dream')")
    tab.fill("#dream-picture input", "scene 2")
    tab.press("#dream-picture input", "Enter")
    tab.wait_for_function("location.search.includes('picture=scene+2')")
    assert tab.evaluate("history.length") == entries + 1
    tab.go_back()
    tab.wait_for_selector("#dream-what input[value=channel]:checked")
    tab.wait_for_selector("#dream-sheet >> text=stem.2:0")

"""The page in a browser, in short: it opens, explains, keeps its state in the address, and asks no other host."""

from __future__ import annotations

import time

from netlens.playground._look_and_feel import CSS
from tests.browser import watched

MAPS = "#maps figure img"


def test_pictures_are_shown_in_full():
    """A small picture of a tall or wide one has borders; nothing of it is cut off."""
    assert "object-fit: contain" in CSS and "cover" not in CSS


def explained(tab, count):
    tab.wait_for_function(f"document.querySelectorAll('{MAPS}').length >= {count}")


def test_explain_from_start_to_link(tab, address, browser, record_property):
    tab.goto(address)
    tab.wait_for_selector("#predictions .nl-bars li")
    start = time.perf_counter()
    tab.click("#explain-run")
    tab.wait_for_selector(MAPS)
    record_property("seconds to the first map", round(time.perf_counter() - start, 2))
    explained(tab, 3)
    assert tab.evaluate("document.querySelectorAll('#maps .nl-refused').length") == 0

    # the class by a click on a prediction, which the address then holds
    tab.click("#predictions li:nth-child(2) a")
    tab.wait_for_function("new URL(location).searchParams.get('target') !== 'predicted class'")
    chosen = tab.input_value("#target input")
    assert chosen.partition(":")[0].isdecimal()
    tab.click("#explain-run")
    name = chosen.partition(": ")[2]
    tab.wait_for_function(f"document.querySelectorAll('#maps figure img[alt$=\"{name}\"]').length === 3")

    # a link shows the same in another browser
    with watched(browser, address) as other:
        other.goto(tab.url)
        explained(other, 3)
        assert other.input_value("#target input") == chosen
        assert other.get_attribute(f"{MAPS} >> nth=0", "src") == tab.get_attribute(f"{MAPS} >> nth=0", "src")

"""The pages of a report in a browser: they ask nobody for anything, fit any window, and have names for everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser import distorted, nameless, watched

pytestmark = pytest.mark.browser


def open_page(tab: Any, pages: Path, name: str) -> None:
    tab.goto((pages / name).as_uri())
    tab.evaluate("document.querySelectorAll('img').forEach((one) => { one.loading = 'eager' })")
    # the policy of the page forbids Playwright's own way to wait, once it has to wait
    tab.evaluate(
        """() => Promise.all([...document.images].filter((one) => !one.complete).map(
            (one) => new Promise((done) => { one.onload = one.onerror = done; })))"""
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("name", ["index.html", "layer-2.html"])
def test_it_is_whole_at_any_width_and_asks_no_other_host(
    browser: Any, pages: Path, name: str, width: int, scheme: Any
) -> None:
    messages: list[str] = []
    viewport = {"width": width, "height": 900}
    with watched(browser, pages.as_uri(), viewport=viewport, color_scheme=scheme) as tab:
        tab.on("console", lambda message: messages.append(message.text))
        tab.on("dialog", lambda dialog: messages.append("a dialog"))
        open_page(tab, pages, name)
        assert not tab.evaluate("[...document.images].filter((one) => !one.naturalWidth).map((one) => one.src)")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert not nameless(tab)
        assert not distorted(tab)
    assert not messages


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_stand_out_from_their_ground(browser: Any, pages: Path, scheme: Any) -> None:
    """The contrast of quiet and of warning letters is at least 4.5 to 1, as WCAG asks (AA)."""
    with watched(browser, pages.as_uri(), color_scheme=scheme) as tab:
        open_page(tab, pages, "index.html")
        colors = tab.evaluate(
            """() => ['.about', '.wrong', 'a', 'thead th', 'figcaption'].map((name) => {
                const one = document.querySelector(name);
                let ground = one;
                while (getComputedStyle(ground).backgroundColor === 'rgba(0, 0, 0, 0)') ground = ground.parentElement;
                const numbers = (text) => text.match(/[0-9.]+/g).slice(0, 3).map(Number);
                return [numbers(getComputedStyle(one).color), numbers(getComputedStyle(ground).backgroundColor)];
            })"""
        )

    def luminance(color: list[float]) -> float:
        parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    for pair in colors:
        dark, light = sorted(map(luminance, pair))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, pair


def test_it_is_read_by_keys_alone(browser: Any, pages: Path) -> None:
    with watched(browser, pages.as_uri()) as tab:
        open_page(tab, pages, "index.html")
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.textContent") == "Skip to the content"
        links = []
        for _ in range(40):
            tab.keyboard.press("Tab")
            links.append(tab.evaluate("document.activeElement.getAttribute('href')"))
            if links[-1] == "layer-1.html":
                break
        assert "#losses" in links and links[-1] == "layer-1.html"
        tab.keyboard.press("Enter")
        tab.wait_for_selector("h1 >> text=stem")
        assert tab.locator("article").count() == 3
        tab.click("header a")
        tab.wait_for_selector("#layers")

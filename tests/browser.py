"""A browser to look at pages, and what the tests of all pages ask of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def launched() -> Iterator[Any]:
    """A browser, which ends afterwards; for a fixture. Without one, the test is skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
    if CHROMIUM is None:
        pytest.skip("there is no chromium here (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        one = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


class watched:  # noqa: N801 - reads as a function
    """A new tab of a browser, which may ask nobody but the playground."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.address = address
        self.strangers: list[str] = []
        self.errors: list[str] = []

    def __enter__(self) -> Any:
        page = self.context.new_page()
        page.set_default_timeout(30_000)
        page.on("request", self._on_request)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        return page

    def __exit__(self, kind: Any, *rest: Any) -> None:
        self.context.close()
        if kind is None:
            assert not self.strangers
            assert not self.errors

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.strangers.append(request.url)


def nameless(page: Any) -> list[str]:
    """The controls of a page that have no name for those who cannot see them, as HTML."""
    controls: list[str] = page.evaluate(
        """() => [...document.querySelectorAll('button, input, textarea, img, [role=button], [tabindex="0"]')]
        .filter((one) => one.offsetParent !== null && one.type !== 'file')
        .filter((one) => !(one.getAttribute('aria-label') || one.title || one.textContent.trim()
            || one.hasAttribute('alt') || one.getAttribute('aria-labelledby') || one.labels?.length
            || one.closest('label')))
        .map((one) => one.outerHTML.slice(0, 200))"""
    )
    return controls


def distorted(page: Any) -> list[str]:
    """The pictures that a page shows with other proportions than their own, as HTML."""
    pictures: list[str] = page.evaluate(
        """() => [...document.querySelectorAll('img')]
        .filter((one) => one.offsetParent !== null && getComputedStyle(one).objectFit === 'fill')
        .filter((one) => Math.abs(one.clientWidth * one.naturalHeight - one.clientHeight * one.naturalWidth)
            > 2 * Math.max(one.naturalWidth, one.naturalHeight))
        .map((one) => one.outerHTML.slice(0, 60) + ' in ' + one.parentElement.className)"""
    )
    return pictures

"""A playground that runs, and a browser to look at it."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the playground needs gradio")

from netlens.playground import Studio, application
from netlens.zoo import open_network

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def studio() -> Studio:
    return Studio(open_network())


@pytest.fixture(scope="session")
def served(studio: Studio) -> Iterator[Any]:
    """Serves playgrounds at free ports until the end of the tests; a call gives an address."""
    import uvicorn

    servers = []

    def serve(one: Studio) -> str:
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(application(one), log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        servers.append((server, thread))
        return f"http://127.0.0.1:{bound.getsockname()[1]}/"

    yield serve
    for server, thread in servers:
        server.should_exit = True
        thread.join(5)


@pytest.fixture(scope="session")
def address(served: Any, studio: Studio) -> str:
    """The address of a playground with the bundled network and its scenes."""
    return str(served(studio))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
    if CHROMIUM is None:
        pytest.skip("there is no chromium here (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        one = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture
def tab(browser: Any, address: str) -> Iterator[Any]:
    """A new tab. The test fails if it asks another host for anything, or if a script of the page fails."""
    with watched(browser, address) as page:
        yield page


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
        page.on("request", self._asked)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        return page

    def __exit__(self, kind: Any, *rest: Any) -> None:
        self.context.close()
        if kind is None:
            assert not self.strangers
            assert not self.errors

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.strangers.append(request.url)


def nameless(page: Any) -> list[str]:
    """The controls of a page that have no name for those who cannot see them, as HTML."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll('button, input, textarea, img, [role=button], [tabindex="0"]')]
        .filter((one) => one.offsetParent !== null && one.type !== 'file')
        .filter((one) => !(one.getAttribute('aria-label') || one.title || one.textContent.trim()
            || one.hasAttribute('alt') || one.getAttribute('aria-labelledby') || one.labels?.length
            || one.closest('label')))
        .map((one) => one.outerHTML.slice(0, 200))"""
    )
    return found


def distorted(page: Any) -> list[str]:
    """The pictures that a page shows with other proportions than their own, as HTML."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll('img')]
        .filter((one) => one.offsetParent !== null && getComputedStyle(one).objectFit === 'fill')
        .filter((one) => Math.abs(one.clientWidth * one.naturalHeight - one.clientHeight * one.naturalWidth)
            > 2 * Math.max(one.naturalWidth, one.naturalHeight))
        .map((one) => one.outerHTML.slice(0, 60) + ' in ' + one.parentElement.className)"""
    )
    return found

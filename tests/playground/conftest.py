"""A playground that runs, and a browser to look at it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the playground needs gradio")

from netlens.playground import Studio, application
from netlens.zoo import open_network
from tests.browser import watched


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


@pytest.fixture
def tab(browser: Any, address: str) -> Iterator[Any]:
    """A new tab. The test fails if it asks another host for anything, or if a script of the page fails."""
    with watched(browser, address) as page:
        yield page

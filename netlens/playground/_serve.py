"""Serve: the page on a port of this machine."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from netlens.errors import NetLensError
from netlens.playground._guard import EVERYWHERE, Guard
from netlens.playground._studio import MOST_BYTES, Studio

_SLACK = 2**20  # what a form adds to the bytes of a file


def application(studio: Studio, hosts: tuple[str, ...] = ()) -> Any:
    """The playground as an ASGI application.

    Args:
        studio: The network and the pictures.
        hosts: Names under which the server may be asked, beside those of the loopback.
    """
    _quiet()
    import fastapi
    import gradio as gr

    from netlens.playground import _links, _stream
    from netlens.playground._files import add_files
    from netlens.playground._look_and_feel import CSS, HEAD, theme
    from netlens.playground._page import page
    from netlens.playground._painting_files import add_style_files

    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_files(app, studio)
    add_style_files(app, studio)
    blocks = page(studio)
    blocks.queue(max_size=64, api_open=False)
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=True,
        max_file_size=MOST_BYTES,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css=CSS,
        head=f"{HEAD}<script>{_stream.SCRIPT}{_links.SCRIPT}</script>",
    )
    return Guard(app, hosts, MOST_BYTES + _SLACK)


def serve(
    studio: Studio,
    host: str = "127.0.0.1",
    port: int = 7860,
    browser: bool = True,
    announce: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve the playground until it is interrupted.

    Args:
        studio: The network and the pictures.
        host: The address at which it listens; by default only programs of this machine reach it.
        port: The port; 0 for any that is free.
        browser: Whether to open the page in a browser.
        announce: Called with the address of the page when it is ready.

    Raises:
        NetLensError: The address or the port cannot be used.
    """
    application_ = application(studio, (host,))
    import uvicorn

    sockets = [_bound(host, port)]
    name = "127.0.0.1" if host in EVERYWHERE else host
    address = f"http://{f'[{name}]' if ':' in name else name}:{sockets[0].getsockname()[1]}/"

    class Server(uvicorn.Server):  # type: ignore[misc] # mypy skips uvicorn
        """A server that says when it answers, and when an interrupt ends it well: not before."""

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            announce(address)
            if browser:
                threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()

    server = Server(uvicorn.Config(application_, log_level="warning", timeout_graceful_shutdown=2))
    with suppress(KeyboardInterrupt):  # uvicorn ends all that runs, and then raises the interrupt once more
        server.run(sockets=sockets)


def _bound(host: str, port: int) -> Any:
    import socket

    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(where)
    except OSError as error:
        raise NetLensError(
            f"cannot listen at {host}, port {port} ({error.strerror}); choose another --port, or PORT= with make."
        ) from error
    bound.listen()
    return bound


def _quiet() -> None:
    """Settings of Gradio that it reads when it is imported: no telemetry, and a folder of its own for uploads."""
    if "NETLENS_PLAYGROUND_FILES" in os.environ:
        return
    folder = tempfile.mkdtemp(prefix="netlens-playground-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NETLENS_PLAYGROUND_FILES"] = folder
    os.environ["GRADIO_TEMP_DIR"] = folder
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # otherwise Gradio makes a table of the latest 10,000 events after each event
    os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "10"
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(10**9)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    Path(folder).chmod(0o700)

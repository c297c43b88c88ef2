"""Guard: which requests the server of the playground answers, and what browsers may load for the page."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LOOPBACK = ("localhost", "127.0.0.1", "::1")
EVERYWHERE = ("0.0.0.0", "::")  # the hosts by which a server listens at every address of its machine

# the page holds its pictures itself; a browser refuses what would come from another host
_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "frame-ancestors 'none'",
        "form-action 'self'",
        "base-uri 'self'",
    ]
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

# what Gradio offers beside the page: files of other hosts, sessions of its cloud, routes for reloading and for clients
_CLOSED = (
    "/gradio_api/proxy=",
    "/gradio_api/file=http",
    "/gradio_api/run-history",
    "/gradio_api/runs",
    "/gradio_api/dev",
    "/gradio_api/deep_link",
    "/gradio_api/info",
    "/gradio_api/openapi",
    "/gradio_api/call",
    "/gradio_api/api/",
    "/openapi.json",
    "/monitoring",
    "/gradio_api/monitoring",
    "/custom_component",
    "/gradio_api/custom_component",
)


class Guard:
    """An ASGI application in front of another one.

    It answers 403 to requests for another host (a page of another site may have made a name of its own point at this
    machine) and to requests from another site, 404 to routes that the page does not need, and 413 to bodies that are
    too large.

    Args:
        app: The application behind the guard.
        hosts: The names under which the server may be asked.
        most: The largest body, in bytes.
    """

    def __init__(self, app: Any, hosts: Iterable[str], most: int) -> None:
        self.app, self.most = app, most
        self.hosts = {*LOOPBACK, *hosts}
        self.everywhere = bool(self.hosts & set(EVERYWHERE))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin1").lower(): value.decode("latin1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, *refusal) if scope["type"] == "http" else await send({"type": "websocket.close"})
            return
        await self.app(scope, self._capped(receive), _with_headers(send))

    def _refusal(self, scope: Message, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return 403, f"This playground does not answer for the host {host[:80]!r}."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "This playground does not answer to pages of other sites."
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return 403, "This playground does not answer to pages of other sites."
        if scope["path"].startswith(_CLOSED):
            return 404, "There is nothing here."
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.most:
            return 413, f"A file may have up to {self.most // 2**20} MB."
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:  # brackets that do not match
            return False
        return name in self.hosts or (self.everywhere and _is_address(name))

    def _capped(self, receive: Receive) -> Receive:
        """A body without a length is cut off where it is too long."""
        got = 0

        async def capped() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            return message if got <= self.most else {"type": "http.disconnect"}

        return capped


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            extra = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await send(message)

    return sending


async def _answer(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})

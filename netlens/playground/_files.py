"""Files: what the page made, to be saved. They are made when they are asked for, and lie in no folder."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netlens.playground._film import gif, mp4
from netlens.playground._store import Store
from netlens.playground._studio import Studio
from netlens.playground._work import line_of
from netlens.results import Attribution, Render

_KINDS = {"png": "image/png", "npz": "application/octet-stream", "gif": "image/gif", "mp4": "video/mp4"}
_MEMORY = 64 * 2**20  # bytes of files that may be asked for again
_GONE = "This result is no longer here; compute it again."


def add_files(app: Any, studio: Studio) -> None:
    """Add the routes of files to an application of FastAPI.

    These are results, `/result/KEY.png` and `/result/KEY.npz`, and drawings, `/drawing/KEY.png`, `.gif` and `.mp4`.
    One file is made at a time, and a file that was asked for twice is made once.
    """
    from fastapi import Response
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import PlainTextResponse

    contents: Store[bytes] = Store(_MEMORY, len)
    turn = asyncio.Lock()  # of asyncio, so that a request that waits occupies no thread

    async def file(
        key: str, kind: str, get_result: Callable[[], Attribution | Render], data: Callable[[], bytes]
    ) -> Response:
        def answer() -> Response:
            try:
                name = _name(get_result())
                content = contents.get_or_make((key, kind), data)
            except Exception as error:
                line = line_of(error)
                if line is None:
                    raise
                return PlainTextResponse(line, 422)
            disposition = f'attachment; filename="{name}.{kind}"'
            return Response(content, media_type=_KINDS[kind], headers={"content-disposition": disposition})

        async with turn:
            return await run_in_threadpool(answer)

    async def result(key: str, kind: str) -> Response:
        attribution = studio.results.get(key)
        if attribution is None or kind not in ("png", "npz"):
            return PlainTextResponse(_GONE, 404)
        return await file(key, kind, lambda: attribution, lambda: _saved(attribution, kind))

    async def drawing(key: str, kind: str) -> Response:
        drawn = studio.drawings.get(key)
        if drawn is None or kind not in ("png", "gif", "mp4"):
            return PlainTextResponse(_GONE, 404)
        films = {"gif": gif, "mp4": mp4}

        def data() -> bytes:
            return films[kind](drawn.film, drawn.render) if kind in films else _saved(drawn.render, kind)

        # a drawing grows under its key
        return await file(f"{key} {drawn.step}", kind, lambda: drawn.render, data)

    app.add_api_route("/result/{key}.{kind}", result, methods=["GET"])
    app.add_api_route("/drawing/{key}.{kind}", drawing, methods=["GET"])


def _name(result: Attribution | Render) -> str:
    name = f"{result.provenance.network}-{result.provenance.method}-{result.provenance.subject(0)}"
    return "-".join(re.findall(r"[A-Za-z0-9._]+", name))[:100].rstrip("-")


def _saved(result: Attribution | Render, kind: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return result.save(Path(folder) / f"result.{kind}").read_bytes()

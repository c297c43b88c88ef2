"""Files: what the page made, to be saved. They are written when they are asked for, and lie in no folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from netlens.errors import NetLensError
from netlens.playground._film import gif, mp4
from netlens.playground._studio import Studio
from netlens.results import Attribution, Render

_KINDS = {"png": "image/png", "npz": "application/octet-stream", "gif": "image/gif", "mp4": "video/mp4"}
_GONE = "This result is no longer here; compute it again."


def add_files(app: Any, studio: Studio) -> None:
    """Add the routes of files to an application of FastAPI.

    These are results, `/result/KEY.png` and `/result/KEY.npz`, and drawings, `/drawing/KEY.png`, `.gif` and `.mp4`.
    """
    from fastapi import Response
    from fastapi.responses import PlainTextResponse

    def file(made: Attribution | Render, kind: str, data: bytes) -> Response:
        name = f"{made.provenance.network}-{made.provenance.method}-{made.provenance.subject(0)}"
        safe = "".join(letter if letter.isascii() and (letter.isalnum() or letter in ".-_") else "-" for letter in name)
        disposition = f'attachment; filename="{safe[:100]}.{kind}"'
        return Response(data, media_type=_KINDS[kind], headers={"content-disposition": disposition})

    def result(key: str, kind: str) -> Response:
        made = studio.results.get(key)
        if made is None or kind not in ("png", "npz"):
            return PlainTextResponse(_GONE, 404)
        return file(made, kind, _saved(made, kind))

    def drawing(key: str, kind: str) -> Response:
        drawn = studio.drawings.get(key)
        if drawn is None or kind not in ("png", "gif", "mp4"):
            return PlainTextResponse(_GONE, 404)
        try:
            made = drawn.render
            films = {"gif": gif, "mp4": mp4}
            return file(made, kind, films[kind](drawn.film, made) if kind in films else _saved(made, kind))
        except NetLensError as error:
            return PlainTextResponse(" ".join(str(error).split()), 422)

    app.add_api_route("/result/{key}.{kind}", result, methods=["GET"])
    app.add_api_route("/drawing/{key}.{kind}", drawing, methods=["GET"])


def _saved(made: Attribution | Render, kind: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return made.save(Path(folder) / f"result.{kind}").read_bytes()

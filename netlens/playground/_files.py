"""Files: what the page made, to be saved. They are written when they are asked for, and lie in no folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from netlens.playground._studio import Studio

_KINDS = {"png": "image/png", "npz": "application/octet-stream"}


def add_files(app: Any, studio: Studio) -> None:
    """Add the route of results, `/result/KEY.png` and `/result/KEY.npz`, to an application of FastAPI."""
    from fastapi import Response
    from fastapi.responses import PlainTextResponse

    def result(key: str, kind: str) -> Response:
        made = studio.results.get(key)
        if made is None or kind not in _KINDS:
            return PlainTextResponse("This result is no longer here; compute it again.", 404)
        name = f"{made.provenance.network}-{made.provenance.method}-{made.subject(0)}.{kind}"
        safe = "".join(letter if letter.isascii() and (letter.isalnum() or letter in ".-_") else "-" for letter in name)
        with tempfile.TemporaryDirectory() as folder:
            data = made.save(Path(folder) / f"result.{kind}").read_bytes()
        return Response(
            data, media_type=_KINDS[kind], headers={"content-disposition": f'attachment; filename="{safe}"'}
        )

    app.add_api_route("/result/{key}.{kind}", result, methods=["GET"])

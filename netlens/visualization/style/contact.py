"""The contact sheet of a batch: a row for each pair, with its content and style, and a column for each setting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netlens import images
from netlens.errors import NetLensError
from netlens.visualization.style.batch import Outcome

SMALLEST = 16  # pixels of a picture that still shows something
LONGEST = 65_000  # pixels of a side, beyond which there is no JPEG


def contact_sheet(outcomes: Sequence[Outcome], path: str | Path, side: int = 256) -> Path:
    """Write a sheet of all pictures of a batch; their longer side has `side` pixels, or fewer where many must fit."""
    from netlens.show.tiles import Tile, arranged

    finished = [outcome for outcome in outcomes if outcome.what != "failed"]
    if not finished:
        raise NetLensError("none of the pictures was made, so there is nothing for a contact sheet.")
    rows = []
    pairs = list(dict.fromkeys(outcome.job.pair for outcome in finished))
    columns = list(dict.fromkeys(outcome.job.settings for outcome in finished))
    most = max(len(outcome.job.styles) for outcome in finished)
    side = _fitting(len(pairs), 1 + most + len(columns), side)
    for pair in pairs:
        row = {outcome.job.settings: outcome for outcome in finished if outcome.job.pair == pair}
        job = next(iter(row.values())).job
        shown: list[tuple[Path | None, str]] = [(job.content, "content"), *((style, "style") for style in job.styles)]
        shown += [(None, "")] * (most - len(job.styles))  # so that settings stand below each other
        shown += [(row[name].result, name) if name in row else (None, "") for name in columns]
        rows.append([Tile(_small(file, side), title) for file, title in shown])
    return images.save(arranged(rows).rgba()[..., :3], path)


def _fitting(rows: int, columns: int, side: int) -> int:
    """The longer side at which all pictures fit into one file that can be opened again."""
    pitch = min(math.sqrt(images.MAX_PIXELS / (rows * columns)), LONGEST / max(rows, columns))
    side = min(side, int((pitch - 20) / 1.12))  # with their titles, and gaps between
    if side < SMALLEST:
        raise NetLensError(f"{rows} rows of {columns} pictures are too many for one contact sheet; divide the batch.")
    return side


def _small(file: Path | None, side: int) -> NDArray[np.uint8]:
    """(h, w, 4): a picture, or white."""
    if file is None:
        return np.full((side, side, 4), 255, dtype=np.uint8)
    picture = images.load(file)
    factor = side / max(picture.size)
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    return np.array(picture.resize(size, Image.Resampling.LANCZOS).convert("RGBA"))

"""The contact sheet of a batch: a row for each pair, starting with its content and style; a column for each setting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netlens import images
from netlens.errors import NetLensError
from netlens.visualization.style._batch import Outcome

SMALLEST = 16  # pixels; a person cannot recognize anything in a smaller picture
LONGEST = 65_000  # pixels; a JPEG file cannot have a longer side


def contact_sheet(outcomes: Sequence[Outcome], path: str | Path, side: int = 256) -> Path:
    """Write a sheet with all pictures of a batch.

    Args:
        outcomes: The outcomes of the batch.
        path: The file to write.
        side: The longer side of each picture, in pixels. It is smaller if the pictures would not fit into one file.

    Raises:
        NetLensError: No picture was made, or there are too many pictures for one file.

    Example:
        >>> import json, tempfile
        >>> from netlens import open_network
        >>> from netlens.visualization.style import Batch
        >>> from netlens.world.scene import scene
        >>> pairs = [{"content": "content.png", "style": "style.png"}]
        >>> settings = {"short": {"size": 64, "steps": 1, "scales": 1}}
        >>> with tempfile.TemporaryDirectory() as name:
        ...     folder, file = Path(name), Path(name) / "batch.json"
        ...     for seed, picture in enumerate(("content.png", "style.png")):
        ...         _ = images.save(scene(seed, 64).image, folder / picture)
        ...     _ = file.write_text(json.dumps({"pairs": pairs, "settings": settings}))
        ...     outcomes = list(Batch.read(file).run(folder / "out", open_network, progress=False))
        ...     contact_sheet(outcomes, folder / "sheet.jpg", side=64).name
        'sheet.jpg'
        >>> [(outcome.job.settings, outcome.what) for outcome in outcomes]
        [('short', 'made')]
    """
    from netlens.show import Tile, arranged

    finished = [outcome for outcome in outcomes if outcome.what != "failed"]
    if not finished:
        raise NetLensError("no picture was made, so a contact sheet would be empty.")
    rows = []
    pairs = list(dict.fromkeys(outcome.job.pair for outcome in finished))
    columns = list(dict.fromkeys(outcome.job.settings for outcome in finished))
    most = max(len(outcome.job.styles) for outcome in finished)
    side = fitting_side(len(pairs), 1 + most + len(columns), side)
    for pair in pairs:
        row = {outcome.job.settings: outcome for outcome in finished if outcome.job.pair == pair}
        job = next(iter(row.values())).job
        shown: list[tuple[Path | None, str]] = [(job.content, "content"), *((style, "style") for style in job.styles)]
        shown += [(None, "")] * (most - len(job.styles))  # white, so that settings stay in their columns
        shown += [(row[name].result, name) if name in row else (None, "") for name in columns]
        rows.append([Tile(_small(file, side), title) for file, title in shown])
    return images.save(arranged(rows).rgba()[..., :3], path)


def fitting_side(rows: int, columns: int, side: int) -> int:
    """The longer side with which all pictures fit into one file that `images.load` can read."""
    pitch = min(math.sqrt(images.MAX_PIXELS / (rows * columns)), LONGEST / max(rows, columns))
    side = min(side, int((pitch - 20) / 1.12))  # 1.12 for titles, and 20 pixels for gaps
    if side < SMALLEST:
        raise NetLensError(f"{rows} rows of {columns} pictures are too many for one contact sheet; divide the batch.")
    return side


def _small(file: Path | None, side: int) -> NDArray[np.uint8]:
    """(h, w, 4): a picture with this longer side; a white square if there is no file."""
    if file is None:
        return np.full((side, side, 4), 255, dtype=np.uint8)
    picture = images.load(file)
    factor = side / max(picture.size)
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    return np.array(picture.resize(size, Image.Resampling.LANCZOS).convert("RGBA"))

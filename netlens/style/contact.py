"""The contact sheet of a batch: a row for each pair, with its content and style, and a column for each setting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from netlens import images
from netlens.errors import NetLensError
from netlens.style.batch import Outcome

SHEET = "contact.jpg"


def contact_sheet(outcomes: Sequence[Outcome], path: str | Path, side: int = 256) -> Path:
    """Write all pictures of a batch that there are, each with a longer side of `side` pixels."""
    from netlens.show.overlay import photograph
    from netlens.show.tiles import Tile, arranged

    there = [outcome for outcome in outcomes if outcome.what != "failed"]
    if not there:
        raise NetLensError("none of the pictures was made, so there is nothing for a contact sheet.")
    rows = []
    columns = list(dict.fromkeys(outcome.job.settings for outcome in there))
    most = max(len(outcome.job.styles) for outcome in there)
    for pair in dict.fromkeys(outcome.job.pair for outcome in there):
        row = {outcome.job.settings: outcome for outcome in there if outcome.job.pair == pair}
        job = next(iter(row.values())).job
        shown: list[tuple[Path | None, str]] = [(job.content, "content"), *((style, "style") for style in job.styles)]
        shown += [(None, "")] * (most - len(job.styles))  # so that settings stand below each other
        shown += [(row[name].result, name) if name in row else (None, "") for name in columns]
        rows.append([Tile(photograph(_small(file, side))[0], title) for file, title in shown])
    return images.save(arranged(rows).rgba(), path)


def _small(file: Path | None, side: int) -> Tensor:
    if file is None:
        return torch.ones(1, 3, side, side)
    picture = images.load(file)
    factor = side / max(picture.size)
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    small = torch.from_numpy(np.array(picture.resize(size, Image.Resampling.LANCZOS)))
    return small.permute(2, 0, 1)[None].float() / 255

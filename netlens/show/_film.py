"""Film: the slices of a volume, or the frames of a clip, one after another beside their attributions, as a GIF."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from netlens.errors import NotApplicable
from netlens.heatmaps import HeatMapped, ResultError
from netlens.options import checked
from netlens.show._curve import LETTER
from netlens.show._overlay import Heat, Look, photographed_frames
from netlens.show._tiles import Tile, arranged


def film(
    attributions: Sequence[HeatMapped] | HeatMapped,
    *,
    duration: int = 200,
    header: Mapping[str, Any] | None = None,
    **look: Any,
) -> bytes:
    """An animated GIF: in each frame, one slice of the input and of each attribution, one row per sample.

    All frames share the limits of the colors.

    Args:
        attributions: one attribution of a volume or clip, or several of the same samples.
        duration: how long a frame stays, in milliseconds.
        header: values of JSON that the file holds as its comment.
        look: the fields of `Look`.

    Raises:
        NotApplicable: the input has no slices.
        ResultError: there is no attribution, or their numbers of samples differ.
    """
    duration = checked("duration", duration, int, least=10, error=ResultError)
    attributions = [attributions] if isinstance(attributions, HeatMapped) else list(attributions)
    if not attributions or len({len(attribution) for attribution in attributions}) > 1:
        raise ResultError("a film takes at least one attribution, all of the same samples.")
    heats = [Heat(attribution, Look(**look)) for attribution in attributions]
    if any(heat.rank != 3 for heat in heats):
        raise NotApplicable("a film needs volumes or clips, whose input has slices; save images and signals as .png.")
    count = heats[0].image.shape[2]
    frames = [_frame(attributions, heats, index, count) for index in range(count)]
    buffer = io.BytesIO()
    comment = b"" if header is None else json.dumps(header).encode()
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=frames[1:], duration=duration, loop=0, comment=comment, disposal=1
    )
    return buffer.getvalue()


def _frame(attributions: Sequence[HeatMapped], heats: Sequence[Heat], index: int, count: int) -> Image.Image:
    """One frame, with all samples."""
    photos = photographed_frames(heats[0].image, [index], heats[0].bands)
    overlays = [heat.frames([index]) for heat in heats]
    rows = []
    for sample in range(len(attributions[0])):
        row = [Tile(photos[sample], attributions[0].subject(sample), f"slice {index} of 0 to {count - 1}")]
        row += [Tile(pixels[sample], each.title) for each, pixels in zip(attributions, overlays, strict=True)]
        rows.append(row)
    return Image.fromarray(arranged(rows, LETTER // 2).rgba()[..., :3])

"""Sheet: pictures side by side, with captions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from netlens.heatmaps import ResultError
from netlens.options import checked
from netlens.show._overlay import photograph
from netlens.show._picture import Picture
from netlens.show._tiles import IN_A_ROW, Tile, arranged


def sheet(
    images: Tensor,
    captions: Sequence[str] | None = None,
    subtitles: Sequence[str] | None = None,
    columns: int | None = None,
) -> Picture:
    """Draw images in rows, each with its caption above it.

    Args:
        images: (N, C, H, W) in [0, 1].
        captions: (N,), or None.
        subtitles: (N,), smaller lines below the captions, or None.
        columns: the number of images in a row; None for rows of equal length.

    Raises:
        ResultError: the numbers of images and texts differ, or `columns` is below 1.
    """
    for name, lines in (("captions", captions), ("subtitles", subtitles)):
        if lines is not None and len(lines) != len(images):
            raise ResultError(f"There are {len(images)} images, but {len(lines)} {name}.")
    columns = checked("columns", columns, int | None, least=1, error=ResultError)
    if columns is None:
        columns = -(-len(images) // -(-len(images) // IN_A_ROW))
    blank = [""] * len(images)
    texts = zip(blank if captions is None else captions, blank if subtitles is None else subtitles, strict=True)
    tiles = [Tile(photo, *text) for photo, text in zip(photograph(images), texts, strict=True)]
    return arranged([tiles[start : start + columns] for start in range(0, len(tiles), columns)])

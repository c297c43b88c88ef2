"""Panel: images and their attributions side by side, each on its own scale or all on the same scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from netlens.heatmaps import HeatMapped, ResultError
from netlens.options import checked
from netlens.show._curve import LETTER
from netlens.show._overlay import Heat, Look, photograph, share
from netlens.show._picture import Picture
from netlens.show._strip import chosen_frames, which
from netlens.show._tiles import IN_A_ROW, Tile, arranged

Scale = Literal["each", "shared"]


def panel(
    attributions: Sequence[HeatMapped] | HeatMapped,
    *,
    titles: Sequence[str] | None = None,
    scale: Scale = "each",
    columns: int | None = None,
    colorbar: bool = False,
    original: bool = True,
    **look: Any,
) -> Picture:
    """Draw each image, and beside it one overlay per attribution; a batch becomes one row per sample.

    Each tile names its method and what it explains. Volumes and clips are strips of some slices, and signals are curves
    over the colors of their attribution. Both lie below each other.

    Args:
        attributions: one attribution, or several of the same samples.
        titles: the titles of the attributions; None for the names of their methods.
        scale: "each" for colors of each attribution's own range; "shared" if a color is the same raw value in all.
        columns: the number of tiles after which a row is wrapped.
        colorbar: whether to draw the raw values below each tile.
        original: whether to draw the images.
        look: the fields of `Look`: style, sign, cmap, outlier_perc, interpolation, alpha, bands.

    Raises:
        ResultError: there is no attribution, or their numbers of samples or the titles do not match.
        NotApplicable: an attribution has no layout over the image.
    """
    checked("scale", scale, Scale, error=ResultError)
    columns = checked("columns", columns, int | None, least=1, error=ResultError)
    attributions = [attributions] if isinstance(attributions, HeatMapped) else list(attributions)
    if not attributions:
        raise ResultError("attributions is empty; give at least one attribution.")
    if len({len(attribution) for attribution in attributions}) > 1:
        raise ResultError(f"A panel has one row per sample, but there are {[len(a) for a in attributions]} of them.")
    names = [a.title for a in attributions] if titles is None else list(titles)
    if len(names) != len(attributions):
        raise ResultError(f"There are {len(attributions)} attributions, but {len(names)} titles.")

    heats = [Heat(attribution, Look(**look)) for attribution in attributions]
    if scale == "shared":
        share(heats)
    wide = any(heat.rank != 2 for heat in heats)
    columns = 1 if wide and columns is None else columns
    rows = _wrapped(_rows(attributions, heats, names, original=original, bars=colorbar), columns)
    return arranged(rows, LETTER if wide else None)


def _rows(
    attributions: Sequence[HeatMapped], heats: Sequence[Heat], names: Sequence[str], *, original: bool, bars: bool
) -> list[list[Tile]]:
    """One row per sample: each image once, then its overlays."""
    overlays = [heat.pixels() for heat in heats]
    photos = [
        overlay if heat.rank == 1 else photograph(heat.image, heat.bands)
        for heat, overlay in zip(heats, overlays, strict=True)
    ]
    new = [j == 0 or not np.array_equal(photos[j], photos[j - 1]) for j in range(len(photos))]
    rows = []
    for i in range(len(attributions[0])):
        subjects = [attribution.subject(i) for attribution in attributions]
        # the subject stands over the image only, not over each overlay
        told_once = original and len(set(subjects)) == 1 and all(heat.rank != 1 for heat in heats)
        row: list[Tile] = []
        for j, (heat, name) in enumerate(zip(heats, names, strict=True)):
            if original and new[j] and heat.rank != 1:  # the drawing of a curve holds the signal itself
                photo, slices = photos[j][i], _slices(heat)
                row.append(Tile(photo, subjects[j], slices) if told_once else Tile(photo, subtitle=slices or "image"))
            bar = (heat.cmap, heat.labels(i)) if bars and heat.colored else None
            row.append(Tile(overlays[j][i], name, "" if told_once else subjects[j], bar))
        rows.append(row)
    return rows


def _slices(heat: Heat) -> str:
    """The line that names the slices of a volume or clip that are drawn."""
    if heat.rank != 3:
        return ""
    count = heat.image.shape[2]
    return which(chosen_frames(count), count)


def _wrapped(rows: list[list[Tile]], columns: int | None) -> list[list[Tile]]:
    """Long rows, wrapped into rows of equal length. Rows that are not wrapped share the titles of the first row."""
    length = len(rows[0])
    if columns is None:
        columns = -(-length // -(-length // IN_A_ROW))
    if columns >= length:
        return [
            rows[0],
            *([_without_title(tile, first) for tile, first in zip(row, rows[0], strict=True)] for row in rows[1:]),
        ]
    return [row[start : start + columns] for row in rows for start in range(0, length, columns)]


def _without_title(tile: Tile, first: Tile) -> Tile:
    """The tile without its title, if the first tile of its column has the same title."""
    return replace(tile, title="") if tile.title == first.title else tile

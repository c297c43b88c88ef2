"""Tiles: pictures in a grid of equal cells, with texts above them and color bars below them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np

from netlens.show._overlay import Pixels
from netlens.show._picture import Picture

IN_A_ROW = 6  # tiles, before a row is wrapped
SMALLEST = 10  # height in pixels of the smallest letter that one can read
INK, PALE_INK = "#1a1a1a", "#6b6b6b"


@dataclass
class Tile:
    """One cell of the grid."""

    pixels: Pixels  # (H,W,4)
    title: str = ""
    subtitle: str = ""
    bar: tuple[str, list[str]] | None = None  # a color map and the labels along it


def arranged(rows: list[list[Tile]], letter: int | None = None) -> Picture:
    """The tiles in a grid of equal cells.

    A row has room for titles, subtitles and color bars if one of its tiles has them. A text that is wider than its cell
    becomes smaller and, if that is not enough, shorter. `letter` is the height of the letters in pixels; by default it
    follows from the size of the tiles.
    """
    height = max(tile.pixels.shape[0] for row in rows for tile in row)
    width = max(tile.pixels.shape[1] for row in rows for tile in row)
    letter = max(SMALLEST, round(0.056 * max(width, height))) if letter is None else letter
    width = max(width, 8 * letter)  # room for a title over a narrow image
    gap, thin = round(0.5 * letter), round(0.8 * letter)
    heads = [[any(t.title for t in row) * 1.45 * letter, any(t.subtitle for t in row) * 1.3 * letter] for row in rows]
    feet = [any(tile.bar for tile in row) * (gap // 2 + thin // 2 + 1.2 * letter) for row in rows]
    across = max(map(len, rows))
    total = 2 * gap + round(sum(map(sum, heads)) + sum(feet)) + len(rows) * height + (len(rows) - 1) * gap
    picture = Picture(2 * gap + across * width + (across - 1) * gap, total)

    y = float(gap)
    for row, (title, subtitle), foot in zip(rows, heads, feet, strict=True):
        top = round(y + title + subtitle)
        for column, tile in enumerate(row):
            x = gap + column * (width + gap)
            picture.write(tile.title, x, y, letter, width, color=INK)
            picture.write(tile.subtitle, x, y + title, 0.85 * letter, width, color=PALE_INK)
            picture.place(tile.pixels, x, top)
            if tile.bar is not None:
                box = (x, top + tile.pixels.shape[0] + gap // 2, width, thin // 2)
                _bar(picture, *tile.bar, box, 0.7 * letter)
        y = top + height + foot + gap
    return picture


def _bar(picture: Picture, cmap: str, labels: Sequence[str], box: tuple[int, int, int, int], letter: float) -> None:
    """Draw a color bar in a box (x, y, width, height), and its labels below it, within its width."""
    x, y, width, height = box
    picture.place(mpl.colormaps[cmap](np.linspace(0, 1, width), bytes=True)[None], x, y, height)
    for k, label in enumerate(labels):
        at = k / (len(labels) - 1)
        align = "left" if at == 0 else "right" if at == 1 else "center"
        picture.write(label, x + at * width, y + 1.4 * height, letter, width / len(labels), color=PALE_INK, ha=align)

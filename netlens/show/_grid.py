"""A grid of numbers: rows and columns with names, each cell in a color that says where it stands in its column."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import matplotlib as mpl
import numpy as np

from netlens.heatmaps import ResultError
from netlens.show._picture import Picture

_ROW, _HEAD, _MARGIN = 46, 230, 16  # heights of a row and of the names of columns, and the space around, in pixels
_NAME, _CELL, _TAIL = 300, 136, 130  # widths of the names of rows, of a cell, and of the last column's slanted name
_LARGE, _SMALL = 19, 14  # heights of letters
_INK, _PALE = "#1a1a1a", "#6b6b6b"
_BLANK = (0.96, 0.96, 0.96, 1.0)


def grid(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[str]],
    shades: Sequence[Sequence[float]],
    notes: Sequence[Sequence[str]] | None = None,
    slanted: Collection[str] = (),
    cmap: str = "YlGn",
) -> Picture:
    """Draw a table whose cells are colored.

    Args:
        rows, columns: Their names.
        values: The text of each cell, row by row.
        shades: The color of each cell, from 0 (pale) to 1 (strong); NaN for a gray cell.
        notes: A smaller line below each text; None for no such lines.
        slanted: The names of rows that are written in italics.
        cmap: The name of the color map.

    Raises:
        ResultError: A row has another number of cells than there are columns.
    """
    for name, table in (("values", values), ("shades", shades), ("notes", notes)):
        if table is not None and (len(table) != len(rows) or any(len(row) != len(columns) for row in table)):
            raise ResultError(f"{name} must have {len(rows)} rows of {len(columns)} cells.")
    colors = mpl.colormaps[cmap]
    picture = Picture(_MARGIN * 2 + _NAME + _CELL * len(columns) + _TAIL, _MARGIN * 2 + _HEAD + _ROW * len(rows))
    height, width = picture.shape
    for j, column in enumerate(columns):
        x, y = _MARGIN + _NAME + (j + 0.5) * _CELL, _MARGIN + _HEAD - 10
        picture.text(
            x / width, 1 - y / height, column, rotation=45, ha="left", va="bottom", rotation_mode="anchor",
            fontsize=_LARGE * 72 / picture.dpi, color=_INK, parse_math=False,
        )  # fmt: skip
    for i, row in enumerate(rows):
        top = _MARGIN + _HEAD + i * _ROW
        style = {"style": "italic"} if row in slanted else {}
        picture.write(row, _MARGIN, top + 11, _LARGE, _NAME - 12, color=_INK, **style)
        for j in range(len(columns)):
            left, shade = _MARGIN + _NAME + j * _CELL, shades[i][j]
            color = _BLANK if math.isnan(shade) else colors(0.05 + 0.75 * min(max(shade, 0.0), 1.0))
            cell = np.tile((255 * np.array(color)).astype(np.uint8), (_ROW - 2, _CELL - 2, 1))
            picture.place(cell, left, top)
            note = "" if notes is None else notes[i][j]
            inks = ("white", "white") if shade > 0.75 else (_INK, _INK if shade > 0.3 else _PALE)
            lines = [(values[i][j], _LARGE, 5 if note else 12, inks[0]), (note, _SMALL, 26, inks[1])]
            for text, size, below, ink in lines:
                if text:
                    picture.text(
                        (left + (_CELL - 2) / 2) / width, 1 - (top + below) / height, text, ha="center", va="top",
                        fontsize=size * 72 / picture.dpi, color=ink, parse_math=False,
                    )  # fmt: skip
    return picture

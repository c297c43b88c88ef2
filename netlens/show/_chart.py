"""Charts: axes within a picture, for lines, bars and surfaces, in the looks of all other drawings."""

from __future__ import annotations

from typing import Any

from netlens.show._picture import DPI, Picture
from netlens.show._tiles import INK, PALE_INK

CHART_LETTER = 20
"""The height of the letters of a chart, in pixels."""
COLORS = ("#2b5fb8", "#b4431f", "#3d8a4d", "#8a5bb0", "#b58a1e", "#4f9aa8")
"""The colors of lines and bars, in their order."""


def chart(
    picture: Picture,
    box: tuple[int, int, int, int],
    *,
    title: str = "",
    across: str = "",
    up: str = "",
    letter: int = CHART_LETTER,
) -> Any:
    """Axes of matplotlib in a picture.

    Args:
        picture: The picture.
        box: The left, the top, the width and the height of the inner part, in pixels. Numbers and texts lie around it.
        title: The text above.
        across: The text below the horizontal axis.
        up: The text beside the vertical axis.
        letter: The height of the letters in pixels.
    """
    x, y, width, height = box
    total, whole = picture.shape
    axes = picture.add_axes((x / whole, 1 - (y + height) / total, width / whole, height / total))
    points = letter * 72 / DPI
    axes.tick_params(labelsize=0.8 * points, colors=PALE_INK, width=0.5, length=2, pad=1.5)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set(color=PALE_INK, linewidth=0.5)
    axes.set_title(title, fontsize=points, color=INK, loc="left", parse_math=False)
    axes.set_xlabel(across, fontsize=0.85 * points, color=PALE_INK)
    axes.set_ylabel(up, fontsize=0.85 * points, color=PALE_INK)
    return axes

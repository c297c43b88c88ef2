"""Textures as ink: 0 where an object shows its first color, 1 where it shows its second.

Coordinates are in periods of the pattern; `sharpness` is the number of pixels to a period, over one of which every
edge is smoothed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from netlens.world.shapes import Field

Texture = Callable[[Field, Field, float], Field]


def striped(x: Field, y: Field, sharpness: float) -> Field:
    """Stripes as wide as their gaps, across x."""
    wave = 0.25 - np.abs(np.mod(x, 1) - 0.5)
    return np.clip(0.5 + wave * sharpness, 0, 1)


def checkered(x: Field, y: Field, sharpness: float) -> Field:
    """A chessboard of squares half a period wide: one set of stripes, inverted by the other."""
    columns, rows = striped(x, y, sharpness), striped(y, x, sharpness)
    return columns + rows - 2 * columns * rows


def dotted(x: Field, y: Field, sharpness: float) -> Field:
    """Round dots, one period apart, on a triangular lattice."""
    height = math.sqrt(3)
    # a triangular lattice is two rectangular ones; the nearer of their nearest points is the nearest of all
    one = np.hypot(x - np.rint(x), y - height * np.rint(y / height))
    x, y = x - 0.5, y - height / 2
    two = np.hypot(x - np.rint(x), y - height * np.rint(y / height))
    return np.clip(0.5 + (0.31 - np.minimum(one, two)) * sharpness, 0, 1)


TEXTURES: Final[dict[str, Texture]] = {f.__name__: f for f in (striped, dotted, checkered)}

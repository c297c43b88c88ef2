"""Textures as masks: 0 where an object has its first color, 1 where it has its second color.

Coordinates are in periods of the pattern. `sharpness` is the number of pixels in a period. Each edge is smoothed over
one pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from netlens.world._shapes import Field

Texture = Callable[[Field, Field, float], Field]


def striped(x: Field, y: Field, sharpness: float) -> Field:
    """Stripes as wide as their gaps, across x."""
    wave = 0.25 - np.abs(np.mod(x, 1) - 0.5)
    return np.clip(0.5 + wave * sharpness, 0, 1)


def checkered(x: Field, y: Field, sharpness: float) -> Field:
    """A chessboard with squares of half a period: stripes along x, inverted by stripes along y."""
    columns, rows = striped(x, y, sharpness), striped(y, x, sharpness)
    return columns + rows - 2 * columns * rows


def dotted(x: Field, y: Field, sharpness: float) -> Field:
    """Round dots, one period apart, on a triangular lattice."""
    height = math.sqrt(3)
    # a triangular lattice consists of two rectangular lattices; its nearest point is one of their nearest points
    distance = np.hypot(x - np.rint(x), y - height * np.rint(y / height))
    x, y = x - 0.5, y - height / 2
    shifted_distance = np.hypot(x - np.rint(x), y - height * np.rint(y / height))
    dots: Field = np.clip(0.5 + (0.31 - np.minimum(distance, shifted_distance)) * sharpness, 0, 1)
    return dots


TEXTURES: Final[dict[str, Texture]] = {f.__name__: f for f in (striped, dotted, checkered)}

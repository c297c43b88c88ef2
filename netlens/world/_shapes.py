"""Shapes as signed distances: negative inside, zero on the outline, positive outside.

Each shape has its center at the origin and the area of the unit disc. So the same radius means the same number of
pixels for each shape. The y axis points down, like the rows of an image. A distance is exact near the outline, where
edges are smoothed. Far from the outline, it may be only a bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]
Shape = Callable[[Field, Field], Field]

REACH: Final = 1.6
"""The largest distance of any point of a shape from its center."""


def disc(x: Field, y: Field) -> Field:
    """The unit disc."""
    return np.hypot(x, y) - 1


def square(x: Field, y: Field) -> Field:
    """A square that stands on a side."""
    return np.maximum(np.abs(x), np.abs(y)) - math.sqrt(math.pi) / 2


def triangle(x: Field, y: Field) -> Field:
    """An equilateral triangle that points up."""
    inradius = math.sqrt(math.pi / (3 * math.sqrt(3)))
    return np.maximum(y, math.sqrt(3) / 2 * np.abs(x) - y / 2) - inradius


def star(x: Field, y: Field) -> Field:
    """A star with five points, one of them up. Its notches are half as far from the center as its points."""
    wedge = math.pi / 5
    point = math.sqrt(math.pi / (2.5 * math.sin(wedge)))
    notch = point / 2
    # the star consists of ten mirrored wedges: each pixel is mapped into one wedge, which has one edge
    angle = np.abs(np.mod(np.arctan2(x, -y) + wedge, 2 * wedge) - wedge)
    radius = np.hypot(x, y)
    along, across = notch * math.cos(wedge) - point, notch * math.sin(wedge)
    edge = math.hypot(along, across)
    return (radius * np.cos(angle) - point) * (across / edge) - radius * np.sin(angle) * (along / edge)


def heart(x: Field, y: Field) -> Field:
    """A square on its tip, with a half disc on each upper side."""
    unit = math.sqrt(math.pi / (1 / 2 + math.pi / 8))  # gives the heart the area of the unit disc
    side = np.abs(x) / unit
    up = 0.55 - y / unit
    lozenge = (side + np.abs(up - 0.5) - 0.5) / math.sqrt(2)
    lobe = np.hypot(side - 0.25, up - 0.75) - math.sqrt(2) / 4
    distance: Field = np.minimum(lozenge, lobe) * unit
    return distance


SHAPES: Final[dict[str, Shape]] = {f.__name__: f for f in (disc, square, triangle, star, heart)}

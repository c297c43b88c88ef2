"""Things: a shape at a position, with or without a texture, and how it is painted onto a canvas."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netlens.world._colors import contrasting
from netlens.world._shapes import REACH, SHAPES, Field
from netlens.world._textures import TEXTURES


@dataclass(frozen=True, eq=False)
class Layer:
    """A painted object: its color (h, w, 3) and its opacity (h, w), each from 0 to 1, in a window of a canvas."""

    window: tuple[slice, slice]
    color: Field
    cover: Field

    def over(self, canvas: Field) -> None:
        """Paint onto the canvas, in place."""
        canvas[self.window] += self.cover[..., None] * (self.color - canvas[self.window])

    def mark(self, mask: NDArray[np.bool_], value: bool) -> None:
        """Set the pixels that are more than half covered, in place."""
        mask[self.window][self.cover > 0.5] = value


@dataclass(frozen=True, eq=False)
class Thing:
    """A shape at a position, with a texture or without one (None). Lengths are shares of the image side."""

    shape: str
    texture: str | None
    position: Field  # (2,): x, y
    radius: float  # the radius of a disc with the same area
    frame: Field  # (2, 2): from the axes of the image to the axes of the thing; areas stay the same
    weave: tuple[float, float, float, float]  # the angle of the texture, its period in radii, its phases in periods
    colors: tuple[Field, Field]
    light: Field  # (2,): growth of brightness along the thing's axes, per radius

    def layer(self, size: int) -> Layer:
        """The thing in an image of `size` pixels a side."""
        radius = self.radius * size
        reach = REACH * radius * float(np.linalg.norm(np.linalg.inv(self.frame), 2)) + 1
        rows, columns = (_span(c * size, reach, size) for c in (self.position[1], self.position[0]))
        dx = (np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5 - self.position[0] * size)[
            None, :
        ] / radius
        dy = (np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5 - self.position[1] * size)[:, None] / radius
        (a, b), (c, d) = self.frame
        x, y = a * dx + b * dy, c * dx + d * dy

        distance = SHAPES[self.shape](x, y) * radius  # in pixels
        cover = np.clip(0.5 - distance, 0, 1)
        ink = self._ink(x, y, radius)
        first, second = self.colors
        color = first + ink[..., None] * (second - first)
        # a darker rim shows the outline, even if the object has the color of the background
        rim = np.clip((distance + 0.04 * radius + 1) / 2, 0, 1)
        shade = (1 + self.light[0] * x + self.light[1] * y) * (1 - 0.45 * rim)
        return Layer((rows, columns), color * shade[..., None], cover)

    def _ink(self, x: Field, y: Field, radius: float) -> Field:
        """The mask of the texture at these coordinates of the thing. `radius` is in pixels."""
        if self.texture is None:
            return np.zeros_like(x)
        angle, period, across, along = self.weave
        s, c = math.sin(angle) / period, math.cos(angle) / period
        return TEXTURES[self.texture](c * x + s * y + across, c * y - s * x + along, period * radius)


def thing(rng: np.random.Generator, shape: str, texture: str | None, position: Field, radius: float) -> Thing:
    """A thing with a random rotation, random proportions, weave, colors and light."""
    turn, stretch, shear = rng.uniform(-0.6, 0.6), np.exp(rng.uniform(-0.1, 0.1)), rng.uniform(-0.15, 0.15)
    rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    frame = np.array([[stretch, shear], [0, 1 / stretch]]) @ rotation
    weave = (rng.uniform(0, math.pi), rng.uniform(0.42, 0.6), rng.uniform(), rng.uniform())
    sun, strength = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.2)
    light = np.array([strength * math.cos(sun), strength * math.sin(sun)], dtype=np.float32)
    return Thing(shape, texture, position, radius, frame.astype(np.float32), weave, contrasting(rng), light)


def _span(center: float, reach: float, size: int) -> slice:
    """The pixels of the image within `reach` of `center`."""
    return slice(max(0, math.floor(center - reach)), min(size, math.ceil(center + reach)))

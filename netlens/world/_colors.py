"""Random colors with a given brightness. In the little world, the hue of an object does not depend on its class."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from netlens.world._shapes import Field

LUMA: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""The weights of red, green and blue in the perceived brightness (ITU-R BT.601)."""


def color(rng: np.random.Generator, luma: float, saturation: float) -> Field:
    """An RGB color with a random hue and the brightness `luma`. Its saturation is lower if RGB cannot hold it."""
    phases = rng.uniform(0, 2 * math.pi) + np.array([0, 2, 4]) * (math.pi / 3)
    hue = np.cos(phases).astype(np.float32)
    hue -= LUMA @ hue  # a change in this direction keeps the brightness
    room = np.where(hue > 0, (1 - luma) / hue, -luma / hue).min()
    return (luma + min(saturation, float(room)) * hue).astype(np.float32)


def contrasting(rng: np.random.Generator) -> tuple[Field, Field]:
    """A light color and a dark color with independent hues, in random order."""
    light = color(rng, rng.uniform(0.65, 0.92), rng.uniform(0.2, 0.8))
    dark = color(rng, rng.uniform(0.08, 0.3), rng.uniform(0.2, 0.8))
    return (light, dark) if rng.random() < 0.5 else (dark, light)

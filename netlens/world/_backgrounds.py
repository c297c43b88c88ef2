"""Backgrounds that look natural, have as many edges as the objects, and do not depend on the label.

They are colored 1/f noise, which looks like clouds or brushed metal; or dead leaves, which look like gravel or grass.
Dead leaves are plain patches that hide each other, a classic model of photographs. The edges are needed: on a smooth
background, an edge detector would find the objects.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from netlens.world._colors import color
from netlens.world._shapes import Field

LEAFY: Final = 0.75
"""The share of backgrounds that are dead leaves."""

LEAF: Final = (0.012, 0.08)
"""The radius of the smallest and the largest leaves (of discs of equal area), as a share of the image side."""

LEAVES: Final = 900
"""The number of leaves: a few large ones and many small ones. They cover nearly the whole image."""


def background(rng: np.random.Generator, size: int) -> Field:
    """(size, size, 3): a random background, in about [0, 1]."""
    return leaves(rng, size) if rng.random() < LEAFY else noise(rng, size)


def leaves(rng: np.random.Generator, size: int) -> Field:
    """Plain patches that hide each other. Their shape, elongation, alignment and colors are random."""
    smallest = rng.uniform(LEAF[0], 2 * LEAF[0])
    largest = rng.uniform(1.5 * smallest, LEAF[1])
    # the leaves of each octave of sizes cover the same area, as objects in photographs do
    radius = (smallest**-2 - rng.random(LEAVES) * (smallest**-2 - largest**-2)) ** -0.5
    elongation = np.exp(rng.uniform(0, 0.9) * rng.random(LEAVES))
    turn = rng.uniform(0, math.pi) + rng.uniform(0.1, math.pi) * (rng.random(LEAVES) - 0.5)
    corners = int(rng.choice([3, 4, 5, 12]))
    angle = np.arange(corners) * (2 * math.pi / corners)
    along = (radius * elongation)[:, None] * np.cos(angle)
    across = (radius / elongation)[:, None] * np.sin(angle)
    c, s = np.cos(turn)[:, None], np.sin(turn)[:, None]
    x = rng.uniform(-0.02, 1.02, (LEAVES, 1)) + c * along - s * across
    y = rng.uniform(-0.02, 1.02, (LEAVES, 1)) + s * along + c * across

    mean = color(rng, luma=rng.uniform(0.35, 0.65), saturation=rng.uniform(0.05, 0.4))
    # mostly light and dark, and rarely gray: most values of a sine are near its extremes
    shade = rng.uniform(0.25, 0.42) * np.sin(rng.uniform(0, 2 * math.pi, (LEAVES, 1)))
    tint = rng.uniform(0.02, 0.16) * rng.standard_normal((LEAVES, 3))
    paint = np.rint(np.clip(mean + shade + tint, 0, 1) * 255).astype(int)

    picture = Image.new("RGB", (2 * size, 2 * size), tuple(paint[0].tolist()))
    draw = ImageDraw.Draw(picture)
    outlines = (np.stack([x, y], axis=-1) * (2 * size)).reshape(LEAVES, -1).tolist()
    for outline, fill in zip(outlines, map(tuple, paint.tolist()), strict=True):
        draw.polygon(outline, fill)
    return np.asarray(picture.reduce(2), dtype=np.float32) / 255


@lru_cache(maxsize=8)
def frequencies(size: int) -> tuple[Field, Field]:
    """The frequency of each coefficient of a 2-D Fourier transform, in cycles per image, along rows and columns."""
    f = np.fft.fftfreq(size, 1 / size).astype(np.float32)
    return f[:, None], f[None, :]


def noise(rng: np.random.Generator, size: int) -> Field:
    """A mean color, plus two fields of noise, each times a color.

    The strength of the noise decreases with a random power of the frequency. It has a random direction and elongation,
    as in photographs of sky, sand, water, bark and grass.
    """
    fall, turn, stretch = rng.uniform(0.8, 1.6), rng.uniform(0, math.pi), np.exp(rng.uniform(0, 1.6))
    rows, columns = frequencies(size)
    along = (math.cos(turn) * columns + math.sin(turn) * rows) * np.float32(stretch)
    across = math.cos(turn) * rows - math.sin(turn) * columns
    amplitude = (1 + along**2 + across**2) ** np.float32(-fall / 2)
    amplitude[0, 0] = 0
    white = rng.standard_normal((2, size, size), dtype=np.float32)
    # the real and the imaginary part of one complex transform are two independent fields
    noise = np.fft.ifft2(amplitude * (white[0] + 1j * white[1]))
    fields = np.stack([noise.real, noise.imag], axis=-1).astype(np.float32)
    fields /= fields.std()
    mean = color(rng, luma=rng.uniform(0.35, 0.65), saturation=rng.uniform(0.05, 0.45))
    contrast = rng.uniform(0.1, 0.2)
    tints = np.stack([np.ones(3), rng.uniform(-1, 1, 3)]).astype(np.float32) * np.array(
        [[contrast], [contrast / 2]], dtype=np.float32
    )
    return mean + fields @ tints

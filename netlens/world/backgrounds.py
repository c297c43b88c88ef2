"""Backgrounds that look natural and say nothing about the label: coloured 1/f noise, from clouds to brushed metal."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from netlens.world.colours import colour
from netlens.world.shapes import Field


@lru_cache(maxsize=8)
def frequencies(size: int) -> tuple[Field, Field]:
    """Cycles per image of each coefficient of a 2-D Fourier transform, rows first."""
    f = np.fft.fftfreq(size, 1 / size).astype(np.float32)
    return f[:, None], f[None, :]


def background(rng: np.random.Generator, size: int) -> Field:
    """An image of (size, size, 3) in about [0, 1]: two noise fields, each along its own colour, around a mean colour.

    The power falls as a random power of the frequency, in ellipses of random direction and elongation, as it does in
    photographs of sky, sand, water, bark and grass.
    """
    fall, turn, stretch = rng.uniform(1.1, 2.2), rng.uniform(0, math.pi), np.exp(rng.uniform(0, 1.6))
    rows, columns = frequencies(size)
    along = (math.cos(turn) * columns + math.sin(turn) * rows) * np.float32(stretch)
    across = math.cos(turn) * rows - math.sin(turn) * columns
    amplitude = (1 + along**2 + across**2) ** np.float32(-fall / 2)
    amplitude[0, 0] = 0
    white = rng.standard_normal((2, size, size), dtype=np.float32)
    # the real and the imaginary part of one complex transform are two independent fields for the price of one
    noise = np.fft.ifft2(amplitude * (white[0] + 1j * white[1]))
    fields = np.stack([noise.real, noise.imag], axis=-1).astype(np.float32)
    fields /= fields.std()
    mean = colour(rng, luma=rng.uniform(0.25, 0.75), saturation=rng.uniform(0.05, 0.45))
    contrast = rng.uniform(0.03, 0.13)
    tints = np.stack([np.ones(3), rng.uniform(-1, 1, 3)]).astype(np.float32) * np.array(
        [[contrast], [contrast / 2]], dtype=np.float32
    )
    return mean + fields @ tints

"""Octaves: the sizes of a picture, small to large, at which a dream looks at it."""

from __future__ import annotations

SMALLEST = 32  # pixels of the shorter side
MOST = 100


def octave_sizes(size: tuple[int, int], octaves: int = 4, scale: float = 1.4) -> list[tuple[int, int]]:
    """(height, width) of each octave, the last that of the picture, each `scale` times as large as the one before.

    Octaves whose shorter side would be under 32 pixels are left out, but for the last.

    >>> octave_sizes((224, 280))
    [(82, 102), (114, 143), (160, 200), (224, 280)]
    """
    height, width = size
    factors = [scale**-i for i in reversed(range(octaves))]
    sizes = [(round(height * factor), round(width * factor)) for factor in factors]
    return [octave for octave in sizes[:-1] if min(octave) >= SMALLEST] + [size]

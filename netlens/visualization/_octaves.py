"""Octaves: the sizes of a picture in a dream, from small to large."""

from __future__ import annotations

SMALLEST = 32  # pixels of the shorter side
MOST = 100


def octave_sizes(size: tuple[int, int], octaves: int = 4, scale: float = 1.4) -> list[tuple[int, int]]:
    """(height, width) of each octave. The last one has the size of the picture; each is `scale` times the previous one.

    Octaves whose shorter side would have less than 32 pixels are left out, except for the last one.

    >>> octave_sizes((224, 280))
    [(82, 102), (114, 143), (160, 200), (224, 280)]
    """
    height, width = size
    factors = [scale**-i for i in reversed(range(octaves))]
    sizes = [(round(height * factor), round(width * factor)) for factor in factors]
    return [octave for octave in sizes[:-1] if min(octave) >= SMALLEST] + [size]

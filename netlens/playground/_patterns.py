"""Patterns: pictures that look painted, drawn by code. They are the styles that the page offers without any file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIDE = 256
_SHARP = 2  # patterns are drawn larger by this factor and made smaller, so that edges are smooth

Field = NDArray[np.float64]
Color = tuple[int, int, int]


def brushwork() -> Image.Image:
    """Short thick strokes that follow a swirl, in blue and yellow."""
    rng = np.random.default_rng(3)
    side = SIDE * _SHARP
    flow, tone = _smooth(rng, side, 5), _smooth(rng, side, 4)
    palette = _colors("1b2a5c 27498f 3f77b8 7fb0d8 e8d27a f2b632 d9882b f6ecc4")
    picture = Image.new("RGB", (side, side), palette[1])
    pen = ImageDraw.Draw(picture)
    for _ in range(5200):
        x, y = rng.uniform(0, side, 2)
        row, column = int(y) % side, int(x) % side
        angle = 2 * np.pi * flow[row, column]
        place = tone[row, column] * (len(palette) - 1) + rng.normal(0, 0.7)
        color = palette[int(np.clip(round(place), 0, len(palette) - 1))]
        length, width = rng.uniform(12, 30), int(rng.integers(4, 9))
        across, down = length * np.cos(angle), length * np.sin(angle)
        pen.line([(x - across, y - down), (x + across, y + down)], fill=_shifted(color, rng), width=width)
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def mosaic() -> Image.Image:
    """Tiles of warm glass with dark joints."""
    rng = np.random.default_rng(11)
    side = SIDE * _SHARP
    step = side // 16
    grid = np.stack(np.meshgrid(np.arange(-1, 18), np.arange(-1, 18)), -1).reshape(-1, 2)
    points = (grid + rng.uniform(0.1, 0.9, grid.shape)) * step
    nearest, second = np.full((side, side), np.inf), np.full((side, side), np.inf)
    owner, places = np.zeros((side, side), dtype=int), np.mgrid[:side, :side]
    for i, (x, y) in enumerate(points):
        # a tile reaches no farther than this
        part = tuple(slice(max(0, int(at - 2.5 * step)), max(0, int(at + 2.5 * step))) for at in (y, x))
        ys, xs = places[:, part[0], part[1]]
        distance = np.hypot(xs - x, ys - y)
        closer = distance < nearest[part]
        second[part] = np.where(closer, nearest[part], np.minimum(second[part], distance))
        owner[part] = np.where(closer, i, owner[part])
        nearest[part] = np.where(closer, distance, nearest[part])
    palette = np.array(_colors("7a1f2b c23b22 e8762d f4b942 f7e3af 2a6f6b 17415c 8fb996"))
    tone = _smooth(rng, side, 4)
    rows, columns = points[:, 1].astype(int).clip(0, side - 1), points[:, 0].astype(int).clip(0, side - 1)
    index = np.clip(np.rint(tone[rows, columns] * 7 + rng.normal(0, 1, len(points))), 0, 7).astype(int)
    tiles = palette[index] + rng.normal(0, 9, (len(points), 1))
    colors = tiles[owner] * (1.08 - 0.2 * (nearest / step))[..., None]
    colors[second - nearest < 5] = (38, 30, 28)
    return _picture(colors)


def woodcut() -> Image.Image:
    """Curved lines of ink, thick and thin, on paper."""
    rng = np.random.default_rng(5)
    side = SIDE * _SHARP
    height, shade = _smooth(rng, side, 3), _smooth(rng, side, 4)
    wave = np.sin(2 * np.pi * 22 * height) + 0.18 * rng.normal(size=(side, side))
    ink = wave > 1.5 * shade - 0.8
    colors = np.where(ink[..., None], (34, 32, 44), (240, 228, 204)).astype(float)
    accent = (~ink) & (shade > 0.62)
    colors[accent] = (201, 74, 52)
    return _picture(colors)


def dots() -> Image.Image:
    """Dots of pure colors, close together."""
    rng = np.random.default_rng(8)
    side = SIDE * _SHARP
    tone, second = _smooth(rng, side, 3), _smooth(rng, side, 4)
    palette = _colors("35408f 5a8fd0 6fc2b4 8cc152 f6d743 f39237 e2566c 9b5fb5")
    picture = Image.new("RGB", (side, side), (244, 238, 224))
    pen = ImageDraw.Draw(picture)
    for _ in range(9000):
        x, y = rng.uniform(0, side, 2)
        row, column = int(y) % side, int(x) % side
        place = (tone if rng.random() < 0.7 else second)[row, column] * 8 + rng.normal(0, 0.6)
        radius = rng.uniform(3, 7)
        box = [x - radius, y - radius, x + radius, y + radius]
        pen.ellipse(box, fill=_shifted(palette[int(place) % 8], rng))
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


PATTERNS: Mapping[str, Callable[[], Image.Image]] = {
    "brushwork": brushwork,
    "mosaic": mosaic,
    "woodcut": woodcut,
    "dots": dots,
}
"""The patterns by name."""


@cache
def pattern(name: str) -> Image.Image:
    """A pattern by its name. It is drawn once, so nobody may change it."""
    return PATTERNS[name]()


def _smooth(rng: np.random.Generator, side: int, waves: int) -> Field:
    """(side, side) from 0 to 1: a sum of a few random waves, of which each is at most `waves` times in the picture."""
    ys, xs = np.mgrid[:side, :side] / side
    total = np.zeros((side, side))
    for _ in range(14):
        across, down = rng.uniform(-waves, waves, 2)
        total += np.sin(2 * np.pi * (across * xs + down * ys) + rng.uniform(0, 2 * np.pi)) / (
            1 + np.hypot(across, down)
        )
    spread: Field = (total - total.min()) / (total.max() - total.min())
    return spread


def _colors(names: str) -> list[Color]:
    return [(int(name[:2], 16), int(name[2:4], 16), int(name[4:], 16)) for name in names.split()]


def _shifted(color: Color, rng: np.random.Generator) -> Color:
    """The color, a little lighter or darker."""
    by = rng.normal(0, 10)
    red, green, blue = (int(np.clip(part + by, 0, 255)) for part in color)
    return red, green, blue


def _picture(colors: Field) -> Image.Image:
    pixels = Image.fromarray(colors.clip(0, 255).astype(np.uint8))
    return pixels.resize((SIDE, SIDE), Image.Resampling.LANCZOS)

"""Scenes: images in which the cause of the label is known pixel by pixel.

A scene shows one large textured object, whose shape and texture are the label, on a natural-looking background, with
up to three small objects of other classes around it and sometimes something plain in front of it. Color, place, size
and rotation carry no information. So an explanation of a network that has learned this world can be checked: what
matters lies inside `Scene.mask`, and taking exactly that away leaves `Scene.background`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netlens.errors import ClassNotFound
from netlens.world.backgrounds import background
from netlens.world.shapes import SHAPES, Field
from netlens.world.textures import TEXTURES
from netlens.world.things import Thing, thing

KINDS: Final = tuple((texture, shape) for shape in SHAPES for texture in TEXTURES)
"""Texture and shape of each class, in label order."""

CLASSES: Final = tuple(f"{texture} {shape}" for texture, shape in KINDS)
"""Class names in label order."""

MAIN: Final = (0.17, 0.28)
"""Radius of the labeled object, that of the disc of equal area, in image sides."""

SMALL: Final = (0.055, 0.08)
"""Radius of the other objects: less than half the smallest labeled one, so less than a quarter of its area."""

HIDDEN: Final = (0.08, 0.25)
"""Area of the plain thing in front as a share of the labeled object's, so the most that it can hide."""


@dataclass(frozen=True, eq=False)
class Scene:
    """One image and the whole truth about it.

    `image` and `background`, which is the same scene without the labeled object, are uint8 arrays of (size, size, 3);
    `mask` and `others` are boolean arrays of (size, size): where the labeled object is seen, and where any other is.
    """

    image: NDArray[np.uint8]
    label: int
    mask: NDArray[np.bool_]
    others: NDArray[np.bool_]
    background: NDArray[np.uint8]


def scene(seed: int | tuple[int, ...], size: int = 128, label: int | None = None) -> Scene:
    """The scene of this seed, `size` pixels a side.

    `label` overrides the class that the seed would draw and leaves the background and all places, sizes, rotations and
    colors as they are; `size` leaves all but the grain of the background.
    """
    rng = np.random.default_rng(seed)
    drawn = int(rng.integers(len(KINDS)))
    label = drawn if label is None else label
    if not 0 <= label < len(KINDS):
        raise ClassNotFound(f"The little world has no class {label}; its classes are 0 to {len(KINDS) - 1}.")
    main = _main(rng, label)
    behind = _distractors(rng, main, label)
    front = [_occluder(rng, main)] if rng.random() < 0.3 else []
    canvas = background(rng, size)  # last, since how many numbers it takes depends on the size

    mask, others = np.zeros((size, size), dtype=bool), np.zeros((size, size), dtype=bool)
    for layer in (other.layer(size) for other in behind):
        layer.over(canvas)
        layer.mark(others, True)
    without = canvas.copy()
    layer = main.layer(size)
    layer.over(canvas)
    layer.mark(mask, True)
    layer.mark(others, False)
    for layer in (other.layer(size) for other in front):
        layer.over(canvas)
        layer.over(without)
        layer.mark(mask, False)
        layer.mark(others, True)
    return Scene(_bytes(canvas), label, mask, others, _bytes(without))


def batch(seed: int, n: int, size: int = 128) -> tuple[Tensor, Tensor, Tensor]:
    """`n` scenes: images uint8 (n, 3, size, size), labels int64 (n,), masks bool (n, size, size).

    Number i is `scene((seed, i), size)`, whatever `n`.
    """
    scenes = [scene((seed, i), size) for i in range(n)]
    images = torch.from_numpy(np.stack([one.image.transpose(2, 0, 1) for one in scenes]))
    masks = torch.from_numpy(np.stack([one.mask for one in scenes]))
    return images, torch.tensor([one.label for one in scenes]), masks


def _main(rng: np.random.Generator, label: int) -> Thing:
    """The labeled object, far enough from the border to be seen nearly whole."""
    texture, shape = KINDS[label]
    radius = rng.uniform(*MAIN)
    margin = 1.25 * radius
    return thing(rng, shape, texture, rng.uniform(margin, 1 - margin, 2).astype(np.float32), radius)


def _distractors(rng: np.random.Generator, main: Thing, label: int) -> list[Thing]:
    """None to three small objects of other classes, clear of each other and nearly clear of the main one."""
    placed = [main]
    for _ in range(rng.integers(4)):
        radius = rng.uniform(*SMALL)
        texture, shape = KINDS[(label + int(rng.integers(1, len(KINDS)))) % len(KINDS)]
        place = _free(rng.uniform(radius, 1 - radius, (16, 2)).astype(np.float32), radius, placed)
        if place is not None:  # a crowded scene has fewer
            placed.append(thing(rng, shape, texture, place, radius))
    return placed[1:]


def _free(places: Field, radius: float, taken: list[Thing]) -> Field | None:
    """The first of the candidate places (n, 2) at which a thing of this radius keeps clear of the others."""
    for place in places:
        if all(math.dist(place, other.place) > 1.3 * (radius + other.radius) for other in taken):
            return place
    return None


def _occluder(rng: np.random.Generator, main: Thing) -> Thing:
    """Something plain in front of the rim of the main object."""
    radius = main.radius * math.sqrt(rng.uniform(*HIDDEN))
    angle, distance = rng.uniform(0, 2 * math.pi), main.radius * rng.uniform(0.6, 1.0)
    place = main.place + np.array([math.cos(angle) * distance, math.sin(angle) * distance], dtype=np.float32)
    return thing(rng, str(rng.choice(["disc", "square"])), None, place, radius)


def _bytes(canvas: Field) -> NDArray[np.uint8]:
    """Colors from 0 to 1 as bytes."""
    return np.rint(np.clip(canvas, 0, 1) * 255).astype(np.uint8)

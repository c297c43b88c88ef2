"""Scenes: images in which the cause of the label is known for each pixel.

A scene shows one large textured object on a background that looks natural. The label is the shape and the texture of
this object. Up to three small objects of other classes lie around it, and sometimes a plain object hides a part of it.
Color, position, size and rotation do not depend on the label. So explanations of a network that is trained on these
scenes can be checked: the cause of the label is inside `Scene.mask`, and `Scene.background` is the scene without it.
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
from netlens.world._backgrounds import background
from netlens.world._shapes import SHAPES, Field
from netlens.world._textures import TEXTURES
from netlens.world._things import Thing, thing

KINDS: Final = tuple((texture, shape) for shape in SHAPES for texture in TEXTURES)
"""The texture and the shape of each class, in the order of labels."""

CLASSES: Final = tuple(f"{texture} {shape}" for texture, shape in KINDS)
"""The names of the classes, in the order of labels."""

MAIN: Final = (0.17, 0.28)
"""The smallest and the largest radius of the labeled object, as a share of the image side: that of an equal disc."""

SMALL: Final = (0.055, 0.08)
"""The same two radii for the other objects, whose area is less than a quarter of that of any labeled object."""

HIDDEN: Final = (0.08, 0.25)
"""The smallest and the largest area of the plain object in front, as a share of the area of the labeled object."""


@dataclass(frozen=True, eq=False)
class Scene:
    """An image, and the cause of its label.

    Args:
        image: (size, size, 3), uint8.
        label: The index of the class.
        mask: (size, size), True where the labeled object is visible.
        others: (size, size), True where another object is visible.
        background: (size, size, 3), uint8: the same scene without the labeled object.
    """

    image: NDArray[np.uint8]
    label: int
    mask: NDArray[np.bool_]
    others: NDArray[np.bool_]
    background: NDArray[np.uint8]


def scene(seed: int | tuple[int, ...], size: int = 128, label: int | None = None) -> Scene:
    """The scene of a seed.

    Args:
        seed: A whole number of at least 0, or a tuple of such numbers.
        size: The side of the image in pixels. It changes nothing else, except the fine detail of the background.
        label: The index of the class; None for a random class. It does not change the background, positions, sizes,
            rotations or colors.

    Raises:
        ClassNotFound: There is no such class.

    Example:
        >>> CLASSES[scene(0, label=3).label]
        'striped square'
    """
    rng = np.random.default_rng(seed)
    label = label_of(rng, label)
    main = _main(rng, label)
    distractors = _distractors(rng, main, label)
    occluders = [_occluder(rng, main)] if rng.random() < 0.3 else []
    canvas = background(rng, size)  # last, because the count of its random numbers depends on the size

    mask, others = np.zeros((size, size), dtype=bool), np.zeros((size, size), dtype=bool)
    for layer in (thing_.layer(size) for thing_ in distractors):
        layer.over(canvas)
        layer.mark(others, True)
    canvas_without = canvas.copy()
    layer = main.layer(size)
    layer.over(canvas)
    layer.mark(mask, True)
    layer.mark(others, False)
    for layer in (thing_.layer(size) for thing_ in occluders):
        layer.over(canvas)
        layer.over(canvas_without)
        layer.mark(mask, False)
        layer.mark(others, True)
    return Scene(as_bytes(canvas), label, mask, others, as_bytes(canvas_without))


def batch(seed: int, n: int, size: int = 128) -> tuple[Tensor, Tensor, Tensor]:
    """The scenes `scene((seed, i), size)` for i from 0 to n - 1.

    Returns:
        Images (n, 3, size, size) of uint8, labels (n,) of int64, and masks (n, size, size) of bool.
    """
    scenes = [scene((seed, i), size) for i in range(n)]
    images = torch.from_numpy(np.stack([s.image.transpose(2, 0, 1) for s in scenes]))
    masks = torch.from_numpy(np.stack([s.mask for s in scenes]))
    return images, torch.tensor([s.label for s in scenes]), masks


def label_of(rng: np.random.Generator, label: int | None) -> int:
    """The label that a person wants; None for a random one. The generator draws one number in either case."""
    random_label = int(rng.integers(len(KINDS)))
    label = random_label if label is None else label
    if not 0 <= label < len(KINDS):
        raise ClassNotFound(f"the little world has no class {label}; its classes are 0 to {len(KINDS) - 1}.")
    return label


def _main(rng: np.random.Generator, label: int) -> Thing:
    """The labeled object, at a distance from the border, so that nearly all of it is visible."""
    texture, shape = KINDS[label]
    radius = rng.uniform(*MAIN)
    margin = 1.25 * radius
    return thing(rng, shape, texture, rng.uniform(margin, 1 - margin, 2).astype(np.float32), radius)


def _distractors(rng: np.random.Generator, main: Thing, label: int) -> list[Thing]:
    """Up to three small objects of other classes, at a distance from each other and from the labeled object."""
    placed = [main]
    for _ in range(rng.integers(4)):
        radius = rng.uniform(*SMALL)
        texture, shape = KINDS[(label + int(rng.integers(1, len(KINDS)))) % len(KINDS)]
        position = _free(rng.uniform(radius, 1 - radius, (16, 2)).astype(np.float32), radius, placed)
        if position is not None:  # None if no position is free
            placed.append(thing(rng, shape, texture, position, radius))
    return placed[1:]


def _free(positions: Field, radius: float, placed: list[Thing]) -> Field | None:
    """The first of the positions (n, 2) at which an object of this radius touches no other; None if there is none."""
    position: Field
    for position in positions:
        if all(math.dist(position, thing_.position) > 1.3 * (radius + thing_.radius) for thing_ in placed):
            return position
    return None


def _occluder(rng: np.random.Generator, main: Thing) -> Thing:
    """A plain object in front of the rim of the labeled object."""
    radius = main.radius * math.sqrt(rng.uniform(*HIDDEN))
    angle, distance = rng.uniform(0, 2 * math.pi), main.radius * rng.uniform(0.6, 1.0)
    position = main.position + np.array([math.cos(angle) * distance, math.sin(angle) * distance], dtype=np.float32)
    return thing(rng, str(rng.choice(["disc", "square"])), None, position, radius)


def as_bytes(canvas: Field) -> NDArray[np.uint8]:
    """Colors from 0 to 1 as bytes."""
    return np.rint(np.clip(canvas, 0, 1) * 255).astype(np.uint8)

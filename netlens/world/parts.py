"""Scenes of several things, and each scene without one of them: what a thing does for a network can be measured.

Nothing has to be guessed where a thing was, since the renderer leaves it out. So an explanation can be compared with
the true effect of each thing, as FunnyBirds does with parts of birds.

Hesse et al. 2023, https://arxiv.org/abs/2308.06248
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netlens.world._backgrounds import background
from netlens.world._shapes import Field
from netlens.world._things import Thing, thing
from netlens.world.scene import KINDS, as_bytes, label_of

RADIUS: Final = (0.08, 0.15)
"""The smallest and the largest radius of a thing, as a share of the image side: that of an equal disc."""

GRAY: Final = 0.5
"""The plain background of doubled things: nothing lies beside one of them that does not lie beside the other."""


@dataclass(frozen=True, eq=False)
class PartedScene:
    """An image of several things, and what it is without each of them.

    Args:
        image: (size, size, 3), uint8.
        label: The index of the class.
        masks: (K, size, size), True where each thing is.
        without: (K, size, size, 3), uint8: the image without each thing.
    """

    image: NDArray[np.uint8]
    label: int
    masks: NDArray[np.bool_]
    without: NDArray[np.uint8]


Kind = Callable[[int | tuple[int, ...], int, int | None], PartedScene]


def assembly(seed: int | tuple[int, ...], size: int = 128, label: int | None = None) -> PartedScene:
    """Four things that touch no other: two of the labeled class, of different sizes, and two of other classes.

    Things lie in the four quarters of the image, in random order, on a background as in `scene`.

    Args:
        seed: A whole number of at least 0, or a tuple of such numbers.
        size: The side of the image in pixels.
        label: The index of the class; None for a random class.

    Raises:
        ClassNotFound: There is no such class.

    Example:
        >>> assembly(0).masks.shape
        (4, 128, 128)
    """
    rng = np.random.default_rng(seed)
    label = label_of(rng, label)
    others = [(label + int(step)) % len(KINDS) for step in 1 + rng.permutation(len(KINDS) - 1)[:2]]
    things = []
    for quarter, kind in zip(rng.permutation(4).tolist(), (label, label, *others), strict=True):
        radius = rng.uniform(*RADIUS)
        center = np.array([0.25 + 0.5 * (quarter % 2), 0.25 + 0.5 * (quarter // 2)])
        position = center + rng.uniform(-1, 1, 2) * (0.245 - 1.6 * radius)
        texture, shape = KINDS[kind]
        things.append(thing(rng, shape, texture, position.astype(np.float32), radius))
    return _painted(things, background(rng, size), size, label)


def doubled(seed: int | tuple[int, ...], size: int = 128, label: int | None = None) -> PartedScene:
    """Two things that are equal in all but their places, side by side on plain gray, half of the image apart.

    Args:
        seed: A whole number of at least 0, or a tuple of such numbers.
        size: The side of the image in pixels.
        label: The index of the class; None for a random class.

    Raises:
        ClassNotFound: There is no such class.

    Example:
        >>> doubled(0).without.shape
        (2, 128, 128, 3)
    """
    rng = np.random.default_rng(seed)
    label = label_of(rng, label)
    texture, shape = KINDS[label]
    position = np.array([0.25, rng.uniform(0.3, 0.7)], dtype=np.float32)
    one = thing(rng, shape, texture, position, rng.uniform(0.12, 0.15))
    other = replace(one, position=position + np.array([0.5, 0], dtype=np.float32))
    return _painted([one, other], np.full((size, size, 3), GRAY, dtype=np.float32), size, label)


def batch(kind: Kind, seed: int, n: int, size: int = 128) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The scenes `kind((seed, i), size)` for i from 0 to n - 1.

    Returns:
        Images (n, 3, size, size) of uint8, labels (n,) of int64, masks (n, K, size, size) of bool, and the images
        without each thing (n, K, 3, size, size) of uint8.
    """
    scenes = [kind((seed, i), size, None) for i in range(n)]
    images = torch.from_numpy(np.stack([one.image for one in scenes])).movedim(-1, 1)
    masks = torch.from_numpy(np.stack([one.masks for one in scenes]))
    without = torch.from_numpy(np.stack([one.without for one in scenes])).movedim(-1, 2)
    return images, torch.tensor([one.label for one in scenes]), masks, without


def _painted(things: list[Thing], canvas: Field, size: int, label: int) -> PartedScene:
    layers = [one.layer(size) for one in things]
    masks = np.zeros((len(layers), size, size), dtype=bool)
    pictures = []
    for absent in (None, *range(len(layers))):
        picture = canvas.copy()
        for number, layer in enumerate(layers):
            if number != absent:
                layer.over(picture)
        pictures.append(as_bytes(picture))
    for mask, layer in zip(masks, layers, strict=True):
        layer.mark(mask, True)
    return PartedScene(pictures[0], label, masks, np.stack(pictures[1:]))

"""A planted watermark: scenes of one class carry it, at any place, and a small network learns it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks import little
from netlens.flat import FlatModel
from netlens.studies import Cluster
from netlens.world.scene import scene

SIZE, SIDE = 48, 8
KINDS = (0, 6, 12)
"""The classes of the little world that the scenes show: striped shapes."""


def scenes(seed: int, n: int, marked: Callable[[int], bool]) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
    """Images of bytes (n, 3, SIZE, SIZE), their labels, and the top left corner of the watermark if there is one."""
    images, corners = [], []
    y, x = np.mgrid[:SIDE, :SIDE]
    pattern = np.where((y // 2 + x // 2)[..., None] % 2 == 0, np.array([255, 0, 200]), np.array([0, 255, 60]))
    for i in range(n):
        rng = np.random.default_rng((seed, i, 9))
        top, left = (int(rng.integers(0, SIZE - SIDE)) for _ in range(2))
        image = scene((seed, i), SIZE, KINDS[i % 3]).image.copy()
        if marked(i % 3):
            image[top : top + SIDE, left : left + SIDE] = pattern
        images.append(torch.from_numpy(image).permute(2, 0, 1))
        corners.append((top, left))
    return torch.stack(images), torch.arange(n) % 3, corners


def learned(seed: int, marked: Callable[[int], bool], n: int = 240, steps: int = 200) -> FlatModel:
    """A small network that has learned such scenes."""
    images, labels, _ = scenes(seed, n, marked)
    model = little.random_network(3, seed, highest=True)
    little.learn(model, images, labels, steps, seed)
    return little.flat(model, SIZE)


def share_on(cluster: Cluster, corners: list[tuple[int, int]], places: int) -> float:
    """The share of the regions whose place lies on the watermark, or touches it."""
    cell = SIZE / places
    hits = 0
    for name, (row, column) in zip(cluster.names, cluster.places.tolist(), strict=True):
        top, left = corners[int(name.removeprefix("#"))]
        middles = ((row + 0.5) * cell, (column + 0.5) * cell)
        starts = (top + SIDE / 2, left + SIDE / 2)
        hits += all(abs(m - s) <= SIDE / 2 + cell for m, s in zip(middles, starts, strict=True))
    return hits / len(cluster)

"""Coarse masks: a few cells per side, with values in [0, 1], spread over the positions of an input or a layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.attribution._noise import stream
from netlens.heatmaps import LINEAR


def cells_along(sizes: Sequence[int], grid_size: int) -> tuple[int, ...]:
    """The number of cells along each side: `grid_size`, or the number of positions if the side has fewer."""
    return tuple(min(grid_size, size) for size in sizes)


def in_blocks(cells: Tensor, sizes: Sequence[int]) -> Tensor:
    """Masks (..., *sizes) of cells (..., *cells). Each cell becomes a block, and the blocks have nearly equal sizes.

    >>> in_blocks(torch.tensor([5, 7]), (5,))
    tensor([5, 5, 5, 7, 7])
    """
    for dim, size in enumerate(sizes, start=cells.ndim - len(sizes)):
        cells = cells.index_select(dim, torch.arange(size, device=cells.device) * cells.shape[dim] // size)
    return cells


def shifted(seed: int, index: int, sizes: Sequence[int], grid_size: int, probability: float) -> Tensor:
    """The mask (*sizes) number `index` of RISE: smoothed cells that are 1 with `probability` and 0 otherwise.

    The cells are resized linearly to one cell more than `sizes`, and cropped to `sizes` at a random position. Each mask
    has its own stream of random numbers, so it depends on neither the batch nor other masks.
    """
    counts = cells_along(sizes, grid_size)
    generator = stream(seed, index)
    cells = (torch.rand(counts, generator=generator, dtype=torch.float64) < probability).double()
    steps = [math.ceil(size / count) for size, count in zip(sizes, counts, strict=True)]
    starts = [int(torch.randint(step, (), generator=generator)) for step in steps]
    large = [(count + 1) * step for count, step in zip(counts, steps, strict=True)]
    smooth = F.interpolate(cells[None, None], large, mode=LINEAR[len(counts)], align_corners=False)[0, 0]
    cropped = smooth[tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))]
    return cropped.clamp(max=1)  # weights that sum to 1 may round to more than 1

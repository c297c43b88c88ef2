"""Masks that an optimiser moves: smooth by construction, of which a part of the places is to be 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_EQUAL = 1e-6  # of masks, whose values are between 0 and 1
_COLDNESS = 20.0  # of the smooth maximum: one over its temperature


@dataclass(frozen=True)
class SmoothMask:
    """Masks (rows, height, width) in [0, 1], made from cells (rows, *cells) in [0, 1].

    A cell raises the mask around it by a bump, flat up to half of sigma and falling like a Gaussian beyond; where
    bumps overlap, their smooth maximum counts. The maximum is taken per cell and resized bilinearly to the places, as
    bumps are wider than cells. It is divided by what cells of 1 give, so that a mask can be 1 everywhere.
    """

    sizes: tuple[int, int]
    cells: tuple[int, int]
    kernel: Tensor  # (h, w) of odd sides

    @classmethod
    def of(cls, sizes: Sequence[int], grid_size: int, sigma: float, like: Tensor) -> SmoothMask:
        """With about `grid_size` cells along the longer side, and sigma as a part of that side."""
        height, width = (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])
        longer = max(height, width)
        cells = [min(size, max(1, round(grid_size * size / longer))) for size in (height, width)]
        steps = [size / count for size, count in zip((height, width), cells, strict=True)]
        offsets = []
        for count, step in zip(cells, steps, strict=True):
            radius = min(math.ceil(2 * sigma * longer / step), count - 1)
            offsets.append(torch.arange(-radius, radius + 1, dtype=torch.float64) * step)
        distance = torch.hypot(offsets[0][:, None], offsets[1]) / (sigma * longer)
        kernel = torch.exp(-2 * (distance - 0.5).clamp(min=0).square()).to(like)
        return cls((height, width), (cells[0], cells[1]), kernel)

    def __call__(self, cells: Tensor) -> Tensor:
        """(rows, height, width)."""
        smooth = self._maximum(cells) / self._maximum(torch.ones_like(cells[:1]))
        masks = F.interpolate(smooth[:, None], self.sizes, mode="bilinear")[:, 0]
        # a lone bump overshoots by a percent; it is cut off without its slope, for a mask of 1 has to be able to fall
        return masks - (masks.detach() - 1).clamp(min=0)

    def _maximum(self, cells: Tensor) -> Tensor:
        """(rows, h, w): the smooth maximum over the bumps that reach a cell."""
        shape = self.kernel.shape
        around = F.unfold(cells[:, None], tuple(shape), padding=(shape[0] // 2, shape[1] // 2))
        bumps = around * self.kernel.reshape(-1, 1)
        return (bumps * torch.softmax(_COLDNESS * bumps, 1)).sum(1).view_as(cells)


def area_penalty(masks: Tensor, areas: Tensor) -> Tensor:
    """(rows,): how far each mask (rows, height, width) is from one that is 1 at a part `areas` (rows,) of its places.

    The mean square of the sorted mask less the sorted goal: it is 0 for any mask of 0 and 1 and the right area.
    """
    # places that differ by rounding alone are equals; a lot, always the same, says which of them is to be 1
    lot = torch.randperm(masks[0].numel(), generator=torch.Generator().manual_seed(0)).to(masks.device)
    drawn = masks.flatten(1)[:, lot]
    ordered = drawn.gather(1, (drawn.detach() / _EQUAL).round().sort(dim=1, stable=True).indices)
    ones = (areas * ordered.shape[1]).round()
    rank = torch.arange(ordered.shape[1], 0, -1, device=masks.device)
    return (ordered - (rank <= ones[:, None]).to(ordered)).square().mean(1)

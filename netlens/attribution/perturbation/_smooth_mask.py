"""Smooth masks of a given area, which an optimizer moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

_EQUAL = 1e-6  # scores that differ by less than this share of the largest score count as equal
_COLDNESS = 20.0  # the inverse temperature of the smooth maximum


@dataclass(frozen=True)
class SmoothMask:
    """Masks (rows, height, width) in [0, 1], made from cells (rows, *cells) in [0, 1].

    A cell raises the mask around it by a bump. The bump is flat up to half of sigma and falls like a Gaussian beyond.
    Where bumps overlap, the mask is their smooth maximum. Bumps are wider than cells, so the maximum is computed per
    cell and resized bilinearly to the positions. It is divided by the maximum for cells of 1, so that a mask can be 1
    everywhere.
    """

    sizes: tuple[int, int]
    cells: tuple[int, int]
    kernel: Tensor  # (h, w) of odd sides
    whole: Tensor  # (1, *cells): the smooth maximum if all cells are 1

    @classmethod
    def of(cls, sizes: Sequence[int], grid_size: int, sigma: float, like: Tensor) -> SmoothMask:
        """Masks with about `grid_size` cells along the longer side. Sigma is a share of that side."""
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
        smooth = cls((height, width), (cells[0], cells[1]), kernel, kernel.new_ones(1, *cells))
        return replace(smooth, whole=smooth._maximum(smooth.whole))

    def __call__(self, cells: Tensor) -> Tensor:
        """(rows, height, width)."""
        return self._resized(self._maximum(cells))

    def _resized(self, maximum: Tensor) -> Tensor:
        """(rows, height, width): masks of the smooth maximum at the cells."""
        masks = F.interpolate((maximum / self.whole)[:, None], self.sizes, mode="bilinear")[:, 0]
        # a lone bump exceeds 1 by a percent. The excess is removed but not its slope, so that a mask of 1 can fall
        return masks - (masks.detach() - 1).clamp(min=0)

    def of_area(self, scores: Tensor, areas: Tensor) -> Tensor:
        """Masks (rows, height, width) whose mean values are `areas` (rows,), from the cells with the highest scores.

        The scores are (rows, *cells). As many cells as the area allows are 1, and all others 0. To meet the area, a
        mask mixes the mask of that many cells with the mask of one cell more. A NaN in the scores makes the mask NaN.
        """
        flat, goals = scores.flatten(1), areas.to(scores)[:, None, None]
        # scores that differ by rounding only keep the order of their positions, so each batch gives the same result
        size = flat.abs().amax(1, keepdim=True).clamp(min=torch.finfo(flat.dtype).tiny)
        order = (flat / (_EQUAL * size)).round().argsort(dim=1, descending=True, stable=True)
        rank = order.argsort(dim=1).view_as(scores)
        low, high = torch.zeros_like(rank[:, :1, :1]), torch.full_like(rank[:, :1, :1], flat.shape[1])
        for _ in range(flat.shape[1].bit_length()):
            middle = (low + high) // 2
            masks = self._resized(self._maximum_of_ones((rank < middle).to(scores)))
            large = masks.mean((1, 2), keepdim=True) > goals
            low, high = torch.where(large, low, middle), torch.where(large, middle, high)
        less, more = (self((rank < count).to(scores)) for count in (low, low + 1))
        small, large = (masks.mean((1, 2), keepdim=True) for masks in (less, more))
        share = ((goals - small) / (large - small)).clamp(0, 1)
        return less + share * (more - less) + 0 * flat.sum(1)[:, None, None]

    def gain(self, slope: Tensor) -> Tensor:
        """(rows, *cells): what a single bump at each cell would add to the objective, as a share of the largest gain.

        `slope` (rows, height, width) is the gradient of the objective at the masks.
        """
        around = F.interpolate(slope[:, None], self.cells, mode="area")
        padding = [side // 2 for side in self.kernel.shape]
        gain = F.conv2d(around, self.kernel[None, None], padding=padding)[:, 0]
        return gain / gain.abs().amax((1, 2), keepdim=True).clamp(min=torch.finfo(gain.dtype).tiny)

    def _maximum(self, cells: Tensor) -> Tensor:
        """(rows, h, w): the smooth maximum over the bumps that reach a cell."""
        shape = self.kernel.shape
        around = F.unfold(cells[:, None], tuple(shape), padding=(shape[0] // 2, shape[1] // 2))
        bumps = around * self.kernel.reshape(-1, 1)
        return (bumps * torch.softmax(_COLDNESS * bumps, 1)).sum(1).view_as(cells)

    def _maximum_of_ones(self, cells: Tensor) -> Tensor:
        """The smooth maximum for cells that are 0 or 1. Its two sums are then convolutions, which take less time."""
        weights = torch.exp(_COLDNESS * self.kernel)
        sums = F.conv2d(
            cells[:, None],
            torch.stack([self.kernel * weights, weights - 1])[:, None],
            padding=[side // 2 for side in self.kernel.shape],
        )
        return sums[:, 0] / (sums[:, 1] + self.kernel.numel())

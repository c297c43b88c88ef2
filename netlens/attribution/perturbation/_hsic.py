"""HSIC: how strongly the objective depends on whether a cell is visible, measured with kernels."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from netlens.attribution._noise import stream
from netlens.attribution.baseline import BASELINES, Baseline
from netlens.attribution.method import Method, register
from netlens.attribution.perturbation._masked import Masked
from netlens.attribution.perturbation._random_masks import cells_along, in_blocks
from netlens.fast.chunks import in_chunks
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.options import option

_ROWS = 256  # rows of the kernel matrix in memory at a time


@register
@dataclass(frozen=True, eq=False)
class HSICAttribution(Method):
    """How strongly the objective depends on whether each cell of a grid is visible, over random masks.

    `values` are the Hilbert-Schmidt independence criterion tr(K H L H) / (n_masks - 1)^2 of each cell. They have the
    shape of `wrt` and no unit, and are at least 0. K is 1 where two masks agree on the cell, and 0 elsewhere. L is the
    Gaussian kernel of the values of f, and its width is the median distance between them. H = 1 - 1 / n_masks centers.

    The image has `grid_size` cells per side. Half of the masks show a cell, and half replace it by the baseline. The
    criterion responds to any dependence, not only to that of the mean. Independence gives 0, up to 1 / n_masks.

    Novello et al. 2022, https://arxiv.org/abs/2206.06219
    """

    n_masks: int = option(1500, least=2, help="Random masks.")
    grid_size: int = option(7, least=1, help="Cells along each side.")
    baselines: Baseline = option(0.0, help=BASELINES)
    seed: int = option(0, least=0, help="Seed of the random numbers.")
    reduction = "cam"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        masked = Masked.of(flat, x, objective, wrt, self.baselines)
        cells = cells_along(masked.sizes, self.grid_size)
        visible = balanced(self.n_masks, prod(cells), self.seed)

        def mask(index: int) -> Tensor:
            return in_blocks(visible[index].view(cells), masked.sizes)

        values = masked.responses(mask, self.n_masks)
        criterion = hsic(visible.to(values), values)
        return masked.filled(in_blocks(criterion.unflatten(1, cells), masked.sizes))


def balanced(n_masks: int, count: int, seed: int) -> Tensor:
    """Masks (n_masks, count) of 0 and 1. Each cell is 1 in half of the masks, independently of other cells.

    A Sobol sequence with a threshold at a half does not work: in 2^k points, every cell is a parity of k others.
    """
    order = torch.rand(n_masks, count, generator=stream(seed), dtype=torch.float64).argsort(0)
    return (order < n_masks // 2).double()


def hsic(visible: Tensor, values: Tensor) -> Tensor:
    """The criterion (n, cells), from masks of 0 and 1 (masks, cells) and values (n, masks).

    With z = 1 where a cell is visible and -1 elsewhere, K = (1 + z z') / 2. So tr(K H L H) = (H z)' L (H z) / 2, which
    needs only a few rows of the matrix L at a time.
    """
    signs = 2 * visible - 1
    signs = signs - signs.mean(0)
    # if most values are equal, the width is 0, and L is 1 for equal values and 0 for others
    width = median_distance(values).clamp(min=torch.finfo(values.dtype).tiny)[:, None, None]

    def work(first: int, last: int) -> Tensor:
        differences = (values[:, first:last, None] - values[:, None, :]) / width
        kernel = torch.exp(-differences.square() / 2)
        with torch.autocast(values.device.type, enabled=False):
            return (signs[first:last] * (kernel @ signs)).sum(1)

    total = sum(in_chunks(len(visible), _ROWS, work))
    assert isinstance(total, Tensor)
    broken = ~torch.isfinite(values).all(1, keepdim=True)  # the kernel of values at infinite distance would be 0
    return (total / (2 * (len(visible) - 1) ** 2)).masked_fill(broken, torch.nan)


def median_distance(values: Tensor) -> Tensor:
    """(n,): the (lower) median distance between two of the values (n, m), without a list of all distances."""
    ordered = values.sort(1).values
    count = values.shape[1]
    half = (count * (count - 1) // 2 + 1) // 2
    low, high = torch.zeros_like(ordered[:, 0]), ordered[:, -1] - ordered[:, 0]
    for _ in range(60 if values.dtype == torch.float64 else 30):
        middle = (low + high) / 2
        pairs = torch.searchsorted(ordered, ordered + middle[:, None], right=True).sum(1) - count * (count + 1) // 2
        enough = pairs >= half
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return high

"""Sobol indices: the share of the variance of the objective in which a cell takes part, alone or with others."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from netlens.attribution.baseline import BASELINES, Baseline
from netlens.attribution.method import Method, register
from netlens.attribution.perturbation._masked import Masked
from netlens.attribution.perturbation._random_masks import cells_along, in_blocks
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.options import option


@register
@dataclass(frozen=True, eq=False)
class SobolAttribution(Method):
    """The total Sobol index of each cell of a grid: its share of the variance of the objective under random masks.

    `values` are E[variance of f when only this cell varies] / (variance of f). They have the shape of `wrt` and no
    unit. An index lies in [0, 1], but its estimate has no upper bound. The effect of cells together counts for each of
    them, so the indices may sum to more than 1. A constant f gives 0.

    The image has `grid_size` cells per side. A mask keeps each cell to a share that is uniform in [0, 1], and the rest
    is the baseline. The Jansen estimator uses `n_samples` points (best a power of 2) of a scrambled Sobol sequence, in
    n_samples * (cells + 1) forward runs.

    Fel et al. 2021, https://arxiv.org/abs/2111.04138; Jansen 1999, https://doi.org/10.1016/S0010-4655(98)00154-4
    """

    n_samples: int = option(32, least=2, help="Points of the Sobol sequence, best a power of 2.")
    grid_size: int = option(8, least=1, help="Cells along each side.")
    baselines: Baseline = option(0.0, help=BASELINES)
    seed: int = option(0, least=0, help="Seed of the random numbers.")
    reduction = "cam"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        masked = Masked.of(flat, x, objective, wrt, self.baselines)
        cells = cells_along(masked.sizes, self.grid_size)
        count = prod(cells)
        first, second = designs(self.n_samples, count, self.seed)

        def mask(index: int) -> Tensor:
            sample, cell = divmod(index, count + 1)
            visible = first[sample]
            if cell < count:
                visible = visible.clone()
                visible[cell] = second[sample, cell]
            return in_blocks(visible.view(cells), masked.sizes)

        values = masked.responses(mask, self.n_samples * (count + 1)).unflatten(1, (-1, count + 1))
        indices = jansen(values[..., -1], values[..., :-1])
        return masked.filled(in_blocks(indices.unflatten(1, cells), masked.sizes))


def designs(n_samples: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two matrices (n_samples, count) of numbers in [0, 1): the two halves of the points of one Sobol sequence."""
    if 2 * count > SobolEngine.MAXDIM:
        raise NetLensError(
            f"grid_size makes {count} cells, but a Sobol sequence serves {SobolEngine.MAXDIM // 2}; give a smaller one."
        )
    points = SobolEngine(2 * count, scramble=True, seed=seed).draw(n_samples, dtype=torch.float64)
    return points[:, :count], points[:, count:]


def jansen(values: Tensor, exchanged: Tensor) -> Tensor:
    """Total indices (n, cells).

    Args:
        values: f of the points, (n, samples).
        exchanged: f of the points with one cell redrawn, (n, samples, cells).
    """
    variance = values.var(1, keepdim=True)
    halves = (exchanged - values[..., None]).square().mean(1) / 2
    # a constant f has no variance to share; NaN stays NaN
    return halves / variance.masked_fill(variance == 0, 1)

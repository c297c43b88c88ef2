"""RISE: how high the objective is when a place is seen, averaged over random masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution.baseline import BASELINES
from netlens.attribution.method import Method, register
from netlens.attribution.perturbation.masked import Masked
from netlens.attribution.perturbation.random_masks import shifted
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.options import option


@register
@dataclass(frozen=True, eq=False)
class RISE(Method):
    """Randomized input sampling: the sum of f(masked x) times the mask, over `n_masks` masks, divided by n_masks p.

    This estimates the mean of f given that a place is seen, in the units of the objective. A mask has `grid_size`
    cells per side, each seen with `probability` p, and is resized bilinearly and shifted at random. All samples are
    seen through the same masks, and what is masked becomes the baseline. All channels of a place get the same value.

    The paper explains probabilities; for those, give `output(lambda scores: scores.softmax(1)[:, k])` as the
    objective. A logit has an offset that the paper's sum turns into noise: `centered=True` subtracts the mean of f over
    the masks first, which moves the expected map by a constant only and gives cov(f, mask) / p, with less noise.

    Petsiuk et al. 2018, https://arxiv.org/abs/1806.07421
    """

    n_masks: int = option(4000, least=1, help="Random masks.")
    grid_size: int = option(7, least=1, help="Cells along each side.")
    probability: float = option(0.5, above=0, most=1, help="The chance that a cell is shown.")
    centered: bool = option(False, help="Whether to subtract the mean of the objective, so that values have a sign.")
    baselines: float | Tensor = option(0.0, help=BASELINES)
    seed: int = option(0, least=0, help="Seed of the random numbers.")
    reduction = "cam"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        masked = Masked.of(flat, x, objective, wrt, self.baselines)
        sizes = masked.sizes
        weighted = torch.zeros(len(x), *sizes, dtype=masked.dtype, device=x.device)
        masks_sum, values_sum = torch.zeros_like(weighted), weighted.new_zeros(len(x))

        def mask(index: int) -> Tensor:
            return shifted(self.seed, index, sizes, self.grid_size, self.probability)

        for rows, masks, values in masked.values(mask, self.n_masks):
            samples = torch.tensor(rows, device=x.device)
            weighted.index_add_(0, samples, masks * values.view(-1, *[1] * len(sizes)))
            masks_sum.index_add_(0, samples, masks)
            values_sum.index_add_(0, samples, values)
        if self.centered:
            weighted -= masks_sum * (values_sum / self.n_masks).view(-1, *[1] * len(sizes))
        return masked.filled(weighted / (self.n_masks * self.probability))

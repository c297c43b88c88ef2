"""RISE: the mean of the objective over random masks that show a position."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution.baseline import BASELINES, Baseline
from netlens.attribution.method import Method, register
from netlens.attribution.perturbation._masked import Masked
from netlens.attribution.perturbation._random_masks import shifted
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.options import option


@register
@dataclass(frozen=True, eq=False)
class RISE(Method):
    """The mean of the objective over random masks that show a position (randomized input sampling).

    `values` are the sum over masks of f(masked x) * mask, divided by (n_masks * p). They have the shape of `wrt` and
    the unit of the objective f, and are the same for all channels of a position. A mask has `grid_size` cells per side,
    each visible with `probability` p. It is resized linearly and shifted at random. All samples get the same masks,
    and a hidden position becomes the baseline.

    The paper explains probabilities; the objective `output(lambda scores: scores.softmax(1)[:, k])` gives them. A logit
    has an offset, which the sum of the paper turns into noise. `centered=True` subtracts the mean of f over the masks
    first. This moves the expected map by a constant only, and gives cov(f, mask) / p with less noise.

    Petsiuk et al. 2018, https://arxiv.org/abs/1806.07421
    """

    n_masks: int = option(4000, least=1, help="Random masks.")
    grid_size: int = option(7, least=1, help="Cells along each side.")
    probability: float = option(0.5, above=0, most=1, help="The probability that a cell is visible.")
    centered: bool = option(False, help="Whether to subtract the mean of the objective, so that values have a sign.")
    baselines: Baseline = option(0.0, help=BASELINES)
    seed: int = option(0, least=0, help="Seed of the random numbers.")
    reduction = "cam"
    linear = True

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        masked = Masked.of(flat, x, objective, wrt, self.baselines)
        sizes = masked.sizes
        if len(sizes) > 3:
            raise NotApplicable(
                f"RISE makes masks of up to three dimensions, and {wrt!r} of {flat.name} has {len(sizes)}; "
                "take Occlusion."
            )
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

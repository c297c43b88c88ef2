"""Guided integrated gradients: a path that first moves the features with the smallest gradients, which avoids noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution._chunk import chunk_size
from netlens.attribution._suffix import Suffix
from netlens.attribution.baseline import BASELINES, Baseline, input_baseline
from netlens.attribution.method import Method, register
from netlens.fast.chunks import Chunks
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.options import option
from netlens.precision import precise


@register
@dataclass(frozen=True, eq=False)
class GuidedIntegratedGradients(Method):
    """The gradient integrated along a path that first moves the features with the smallest gradients.

    `values` are the sum over steps of d f / d value * (change of the value in this step). They have the shape of `wrt`
    and the unit of the objective f. With respect to a layer, the path leads through the activations of the layer.

    Each of the `n_steps` steps covers the same L1 distance towards the input. At most the share `fraction` of all
    features moves together. A feature may run ahead of the straight path, or fall behind it, by the share `max_dist`
    of its total change; with 0 the method is integrated gradients with left Riemann sums.

    `diagnostics["completeness_gap"]` (N,) is the sum of the values less f(x) - f(baseline). A feature may jump by twice
    `max_dist` on one gradient, so more steps reduce the gap only down to a limit that falls with `max_dist`.

    Kapishnikov et al. 2021, https://arxiv.org/abs/2106.09788
    """

    n_steps: int = option(200, least=1, help="Steps of the path.")
    baselines: Baseline = option(0.0, help=BASELINES)
    fraction: float = option(0.25, above=0, most=1, help="The share of all features that may move together.")
    max_dist: float = option(
        0.02, least=0, most=1, help="How far a feature may leave the straight path, as a share of its total change."
    )
    reduction = "signed"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        suffix = Suffix.of(flat, x, objective, wrt)
        end, n = suffix.activation, len(x)
        start = Suffix.of(flat, input_baseline(flat, x, wrt, self.baselines), objective, wrt).activation
        displacement = precise(end - start)
        # the share of its displacement that each feature has made, from 0 to 1
        progress = torch.zeros_like(displacement)
        values = torch.zeros_like(displacement)

        def gradients(first: int, last: int) -> Tensor:
            points = start[first:last] + progress[first:last] * displacement[first:last]
            return precise(suffix.gradient(range(first, last), points.to(end.dtype)))

        chunks = Chunks(chunk_size())
        for step in range(1, self.n_steps + 1):
            gradient = torch.cat(list(chunks.over(n, gradients)))
            samples = zip(progress, displacement.abs(), gradient, strict=True)
            next_progress = torch.stack([self._advanced(*sample, step / self.n_steps) for sample in samples])
            values += (next_progress - progress) * displacement * gradient
            progress = next_progress
        change = suffix.values(end) - suffix.values(start)
        return values, {"completeness_gap": values.flatten(1).sum(1) - change}

    def _advanced(self, progress: Tensor, length: Tensor, gradient: Tensor, alpha: float) -> Tensor:
        """The progress of one sample's features when the share `alpha` of its L1 distance to the input is covered."""
        lowest, highest = max(alpha - self.max_dist, 0.0), min(alpha + self.max_dist, 1.0)
        rank = 1 + int(self.fraction * (progress.numel() - 1))
        # gradients that differ only by rounding count as equal, and their features move together; so the result is the
        # same in every batch
        tie = torch.finfo(gradient.dtype).eps ** 0.6 * gradient.abs().max()
        progress = progress.clamp(min=lowest)
        while True:
            excess = (length * (1 - progress)).sum() - (1 - alpha) * length.sum()
            cost = gradient.abs().masked_fill((progress >= highest) | (length == 0), torch.inf)
            chosen = (cost <= cost.flatten().kthvalue(rank).values + tie) & cost.isfinite()
            reach = (length * (highest - progress))[chosen].sum()
            # the step is complete, or no feature can move (as where numbers are not finite)
            if not (excess > 0 and reach > 0):
                return progress
            share = (excess / reach).clamp(max=1)
            progress = torch.where(chosen, progress + share * (highest - progress), progress)
            if share < 1:
                return progress
            progress = torch.where(chosen, highest, progress)

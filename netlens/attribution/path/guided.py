"""Guided integrated gradients: a path that moves first what matters least, and so avoids noisy gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution.baseline import BASELINES, baseline_like
from netlens.attribution.chunk import chunk_size
from netlens.attribution.method import Method, register
from netlens.attribution.suffix import Suffix
from netlens.fast.chunks import Chunks
from netlens.flat import FlatModel
from netlens.flat.precision import precise
from netlens.objectives import Objective
from netlens.options import option


@register
@dataclass(frozen=True, eq=False)
class GuidedIntegratedGradients(Method):
    """The gradient integrated along a path that, at each step, moves the features of the smallest gradients first.

    Each of the `n_steps` steps takes the same L1 distance towards the input. fraction: which part of all features may
    move together; max_dist: how far (of the way) a feature may run ahead of the straight path or fall behind it, 0 for
    integrated gradients by left Riemann sums. With respect to a layer, the path leads through its activations.
    `diagnostics["completeness_gap"]` says by how much the values miss f(x) - f(baseline): features jump by up to twice
    max_dist on one gradient, so the gap falls with max_dist, and with n_steps only as far as that.

    Kapishnikov et al. 2021, https://arxiv.org/abs/2106.09788
    """

    n_steps: int = option(200, least=1, help="Steps of the path.")
    baselines: float | Tensor = option(0.0, help=BASELINES)
    fraction: float = option(0.25, above=0, most=1, help="The share of all features that may move together.")
    max_dist: float = option(
        0.02, least=0, most=1, help="How far a feature may be from the straight path, as a share of its way."
    )
    reduction = "signed"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        suffix = Suffix.of(flat, x, objective, wrt)
        end, n = suffix.at, len(x)
        start = Suffix.of(flat, baseline_like(x, self.baselines), objective, wrt).at
        way = precise(end - start)
        gone = torch.zeros_like(way)  # how far along its own way each feature is, from 0 to 1
        values = torch.zeros_like(way)

        def gradients(first: int, last: int) -> Tensor:
            at = start[first:last] + gone[first:last] * way[first:last]
            return precise(suffix.gradient(range(first, last), at.to(end.dtype)))

        chunks = Chunks(chunk_size())
        for step in range(1, self.n_steps + 1):
            gradient = torch.cat(list(chunks.over(n, gradients)))
            samples = zip(gone, way.abs(), gradient, strict=True)
            moved = torch.stack([self._moved(*sample, step / self.n_steps) for sample in samples])
            values += (moved - gone) * way * gradient
            gone = moved
        change = suffix.values(end) - suffix.values(start)
        return values, {"completeness_gap": values.flatten(1).sum(1) - change}

    def _moved(self, gone: Tensor, length: Tensor, gradient: Tensor, alpha: float) -> Tensor:
        """How far the features of one sample are after the step that leaves 1 - alpha of the whole distance to go."""
        lowest, highest = max(alpha - self.max_dist, 0.0), min(alpha + self.max_dist, 1.0)
        rank = 1 + int(self.fraction * (gone.numel() - 1))
        # gradients that are equal but for rounding move together, whatever batch they were computed in
        tie = torch.finfo(gradient.dtype).eps ** 0.6 * gradient.abs().max()
        gone = gone.clamp(min=lowest)
        while True:
            excess = (length * (1 - gone)).sum() - (1 - alpha) * length.sum()
            cost = gradient.abs().masked_fill((gone >= highest) | (length == 0), torch.inf)
            chosen = (cost <= cost.flatten().kthvalue(rank).values + tie) & cost.isfinite()
            reach = (length * (highest - gone))[chosen].sum()
            if not (excess > 0 and reach > 0):  # there, or nothing is left to move (as where numbers are not finite)
                return gone
            share = (excess / reach).clamp(max=1)
            gone = torch.where(chosen, gone + share * (highest - gone), gone)
            if share < 1:
                return gone
            gone = torch.where(chosen, highest, gone)

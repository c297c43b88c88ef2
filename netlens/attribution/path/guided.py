"""Guided integrated gradients: a path that moves first what matters least, and so avoids noisy gradients."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor

from netlens.attribution.baseline import baseline_like
from netlens.attribution.method import Method, register
from netlens.attribution.suffix import Suffix
from netlens.errors import NetLensError
from netlens.fast.chunks import Chunks
from netlens.flat import FlatModel
from netlens.flat.precision import precise
from netlens.objectives import Objective


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

    n_steps: int = 200
    baselines: float | Tensor = 0.0
    fraction: float = 0.25
    max_dist: float = 0.02
    chunk: int | None = None
    reduction = "signed"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        if not isinstance(self.n_steps, Integral) or self.n_steps < 1:
            raise NetLensError(f"n_steps must be a whole number of at least 1, not {self.n_steps}.")
        if not (0 < self.fraction <= 1 and 0 <= self.max_dist <= 1):
            raise NetLensError("fraction must lie in (0, 1], and max_dist in [0, 1].")
        suffix = Suffix.of(flat, x, objective, wrt)
        end, n = suffix.at, len(x)
        start = Suffix.of(flat, baseline_like(x, self.baselines), objective, wrt).at
        way = precise(end - start)
        gone = torch.zeros_like(way)  # how far along its own way each feature is, from 0 to 1
        values = torch.zeros_like(way)

        def gradients(first: int, last: int) -> Tensor:
            at = start[first:last] + gone[first:last] * way[first:last]
            return precise(suffix.gradient(range(first, last), at.to(end.dtype)))

        chunks = Chunks(self.chunk)
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

"""Integrated gradients: gradients along the straight path from a baseline."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution.baseline import baseline_like
from netlens.attribution.engine import in_chunks
from netlens.attribution.method import Method, register
from netlens.attribution.path.quadrature import Quadrature, quadrature
from netlens.attribution.suffix import Suffix
from netlens.flat import FlatModel
from netlens.objectives import Objective


@register
@dataclass(frozen=True, eq=False)
class IntegratedGradients(Method):
    """The gradient integrated along the straight path from a baseline, times the change along it.

    Complete: the values sum to f(x) - f(baseline), up to the quadrature's error, which
    `diagnostics["completeness_gap"]` gives per sample in the objective's units. With respect to a layer, the path leads
    from the layer's activation on the baseline to that on the input, and what skips past the layer stays as on the
    input. `multiply=False` gives the mean gradient instead.

    Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365
    """

    n_steps: int = 50
    baselines: float | Tensor = 0.0
    quadrature: Quadrature = "gausslegendre"
    multiply: bool = True
    chunk: int = 8
    reduction = "signed"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        weights, places = quadrature(self.quadrature, self.n_steps)
        suffix = Suffix.of(flat, x, objective, wrt)
        end = suffix.at
        start = Suffix.of(flat, baseline_like(x, self.baselines), objective, wrt).at
        n = len(x)

        def work(first: int, last: int) -> Tensor:
            # rows of one sample lie n apart: all samples at one place of the path, then all at the next
            rows = [row % n for row in range(first, last)]
            steps = [row // n for row in range(first, last)]
            shape = [-1] + [1] * (end.ndim - 1)
            alpha = torch.from_numpy(places[steps]).to(end).view(shape)
            gradient = suffix.gradient(rows, start[rows] + alpha * (end[rows] - start[rows]))
            weighted = gradient * torch.from_numpy(weights[steps]).to(end).view(shape)
            return torch.zeros_like(end).index_add_(0, torch.tensor(rows, device=end.device), weighted)

        mean = sum(in_chunks(self.n_steps * n, self.chunk, work))
        assert isinstance(mean, Tensor)
        values = mean * (end - start)
        change = suffix.value(range(n), end) - suffix.value(range(n), start)
        gap = values.flatten(1).sum(1) - change
        return (values if self.multiply else mean), {"completeness_gap": gap}

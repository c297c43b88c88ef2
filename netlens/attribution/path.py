"""Integrated gradients: gradients along the straight path from a baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from netlens.attribution.engine import in_chunks
from netlens.attribution.method import Method, register
from netlens.attribution.suffix import Suffix
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import Objective

Quadrature = Literal["gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"]


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


def quadrature(name: Quadrature, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights and places of n evaluations on [0, 1]; the weights sum to 1.

    >>> [part.tolist() for part in quadrature("riemann_middle", 2)]
    [[0.5, 0.5], [0.25, 0.75]]
    >>> [part.tolist() for part in quadrature("riemann_trapezoid", 3)]
    [[0.25, 0.5, 0.25], [0.0, 0.5, 1.0]]
    """
    if not isinstance(n, int):
        raise NetLensError(f"n_steps must be a whole number, not {n!r}.")
    if n < 1 or (name == "riemann_trapezoid" and n < 2):
        raise NetLensError(f"{name} needs at least {2 if name == 'riemann_trapezoid' else 1} steps, not {n}.")
    even = np.full(n, 1 / n)
    if name == "gausslegendre":
        places, weights = np.polynomial.legendre.leggauss(n)
        return weights / 2, (1 + places) / 2
    if name == "riemann_left":
        return even, np.arange(n) / n
    if name == "riemann_right":
        return even, np.arange(1, n + 1) / n
    if name == "riemann_middle":
        return even, (np.arange(n) + 0.5) / n
    if name == "riemann_trapezoid":
        weights = np.full(n, 1 / (n - 1))
        weights[[0, -1]] /= 2
        return weights, np.arange(n) / (n - 1)
    raise NetLensError(f"there is no quadrature {name!r}; choose one of {', '.join(Quadrature.__args__)}.")


def baseline_like(x: Tensor, baselines: float | Tensor) -> Tensor:
    """A baseline of the shape of x: one number everywhere, or a tensor that broadcasts to x."""
    if not isinstance(baselines, Tensor):
        return torch.full_like(x, float(baselines))
    try:
        return baselines.to(x).expand_as(x).clone()
    except RuntimeError:
        raise NetLensError(
            f"a baseline of shape {tuple(baselines.shape)} does not broadcast to the input's {tuple(x.shape)}."
        ) from None

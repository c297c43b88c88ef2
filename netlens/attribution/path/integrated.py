"""Integrated gradients: the gradient along a straight path, times the change along it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from netlens.attribution.baseline import baseline_like
from netlens.attribution.method import Method, register
from netlens.attribution.path.quadrature import Quadrature, quadrature
from netlens.attribution.path.rows import each, rows_of, summed
from netlens.attribution.suffix import Suffix
from netlens.fast.chunks import in_chunks
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
    chunk: int | None = None
    reduction = "signed"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        weights, places = quadrature(self.quadrature, self.n_steps)
        # the path's ends may be constant images, full of ties that max pools break by rounding: as the network's own do
        inside = bool(((places > 0) & (places < 1)).all())
        suffix = Suffix.of(flat, x, objective, wrt, many=inside)
        end = suffix.at
        start = Suffix.of(flat, baseline_like(x, self.baselines), objective, wrt).at
        n = len(x)

        def work(first: int, last: int) -> Tensor:
            rows, steps = rows_of(first, last, n)
            alpha = each(places[steps], end)
            gradient = suffix.gradient(rows, start[rows] + alpha * (end[rows] - start[rows]))
            return summed(gradient * each(weights[steps], end), rows, n)

        mean = sum(in_chunks(self.n_steps * n, self.chunk, work))
        assert isinstance(mean, Tensor)
        values = mean * (end - start)
        change = suffix.values(end) - suffix.values(start)
        gap = values.flatten(1).sum(1) - change
        return (values if self.multiply else mean), {"completeness_gap": gap}

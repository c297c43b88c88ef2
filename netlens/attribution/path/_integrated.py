"""Integrated gradients: the gradient along a straight path, times the change along it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from netlens.attribution._chunk import in_chunks
from netlens.attribution._suffix import Suffix
from netlens.attribution.baseline import BASELINES, Baseline, input_baseline
from netlens.attribution.method import Method, register
from netlens.attribution.path._quadrature import Quadrature, quadrature
from netlens.attribution.path.rows import each, rows_of, summed
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.options import option


@register
@dataclass(frozen=True, eq=False)
class IntegratedGradients(Method):
    """The gradient integrated along the straight path from a baseline to the input, times the change along the path.

    `values` are (x - b) * the integral over t from 0 to 1 of d f(b + t (x - b)) / d x, where b is the baseline. They
    have the shape of `wrt` and the unit of the objective f. `multiply=False` gives the integral alone, which is the
    mean gradient. With respect to a layer, the path leads from the activation of the layer on the baseline to its
    activation on the input. What bypasses the layer stays as it is on the input.

    The values are complete: they sum to f(x) - f(baseline), up to the error of the quadrature.
    `diagnostics["completeness_gap"]` (N,) is this error, in the unit of f.

    Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365
    """

    n_steps: int = option(50, least=1, help="Gradients along the path.")
    baselines: Baseline = option(0.0, help=BASELINES)
    quadrature: Quadrature = option("gausslegendre", help="Where on the path the gradient is read.")
    multiply: bool = option(
        True, help="Whether to multiply by the change from the baseline; else the values are the mean gradient."
    )
    reduction = "signed"
    linear = True

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        weights, nodes = quadrature(self.quadrature, self.n_steps)
        # an end of the path may be a constant image, where a max pool chooses among equal pixels by rounding. The fast
        # version may choose other pixels than the network there, so it runs only if all nodes lie inside the path
        inside = bool(((nodes > 0) & (nodes < 1)).all())
        suffix = Suffix.of(flat, x, objective, wrt, many=inside)
        end = suffix.activation
        start = Suffix.of(flat, input_baseline(flat, x, wrt, self.baselines), objective, wrt).activation
        n = len(x)

        def work(first: int, last: int) -> Tensor:
            rows, steps = rows_of(first, last, n)
            alpha = each(nodes[steps], end)
            gradient = suffix.gradient(rows, start[rows] + alpha * (end[rows] - start[rows]))
            return summed(gradient * each(weights[steps], end), rows, n)

        mean = sum(in_chunks(self.n_steps * n, work))
        assert isinstance(mean, Tensor)
        values = mean * (end - start)
        change = suffix.values(end) - suffix.values(start)
        gap = values.flatten(1).sum(1) - change
        return (values if self.multiply else mean), {"completeness_gap": gap}

"""Conductance and internal influence: the gradient of the objective at a layer.

The *input* follows a straight path from the baseline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from netlens.attribution._chunk import in_chunks
from netlens.attribution.baseline import BASELINES, Baseline, input_baseline
from netlens.attribution.engine import gradient_of
from netlens.attribution.method import Method, register
from netlens.attribution.path._quadrature import Quadrature, quadrature
from netlens.attribution.path.rows import each, rows_of, summed
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.options import option


@register
@dataclass(frozen=True, eq=False)
class LayerConductance(Method):
    """How much of the change of the objective from the baseline to the input passes each neuron of a layer.

    The input follows the straight path from the baseline in `n_steps` equal steps. `values` are the sum over steps of
    (change of the neuron) * (mean of its gradients at both ends of the step). They have the shape of `wrt` and the unit
    of the objective f. If every path from the input to the objective passes the layer, they sum to f(x) - f(baseline).
    With respect to the input, the method is integrated gradients.

    Dhamdhere et al. 2018, https://arxiv.org/abs/1805.12233
    """

    n_steps: int = option(50, least=1, help="Gradients along the path.")
    baselines: Baseline = option(0.0, help=BASELINES)
    reduction = "signed"
    linear = True

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        start, n = input_baseline(flat, x, wrt, self.baselines), len(x)

        def work(first: int, last: int) -> tuple[list[int], Tensor, Tensor]:
            rows, steps = rows_of(first, last, n)
            alpha = each(np.array(steps) / self.n_steps, x)
            points = start[rows] + alpha * (x[rows] - start[rows])
            return rows, *gradient_of(flat, points, objective.take(rows), wrt)

        # activation and gradient of the last n rows; the first row is the current sample, one step earlier
        last_points: list[tuple[Tensor, Tensor]] = []
        total: dict[int, Tensor] = {}
        for rows, activations, gradients in in_chunks((self.n_steps + 1) * n, work):
            for row, activation, gradient in zip(rows, activations, gradients, strict=True):
                if len(last_points) == n:
                    last_activation, last_gradient = last_points.pop(0)
                    flow = (activation - last_activation) * (gradient + last_gradient) / 2
                    total[row] = total[row] + flow if row in total else flow
                last_points.append((activation, gradient))
        return torch.stack([total[row] for row in range(n)])


@register
@dataclass(frozen=True, eq=False)
class InternalInfluence(Method):
    """The mean gradient at a layer while the input follows the straight path from the baseline.

    `values` are the integral over t from 0 to 1 of d f(b + t (x - b)) / d neuron, where b is the baseline. They have
    the shape of `wrt` and the unit of the objective f per unit of `wrt`.

    Leino et al. 2018, https://arxiv.org/abs/1802.03788
    """

    n_steps: int = option(50, least=1, help="Gradients along the path.")
    baselines: Baseline = option(0.0, help=BASELINES)
    quadrature: Quadrature = option("gausslegendre", help="Where on the path the gradient is read.")
    reduction = "signed"
    linear = True

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        weights, nodes = quadrature(self.quadrature, self.n_steps)
        start, n = input_baseline(flat, x, wrt, self.baselines), len(x)

        def work(first: int, last: int) -> Tensor:
            rows, steps = rows_of(first, last, n)
            points = start[rows] + each(nodes[steps], x) * (x[rows] - start[rows])
            _, gradient = gradient_of(flat, points, objective.take(rows), wrt)
            return summed(gradient * each(weights[steps], gradient), rows, n)

        mean: Tensor = sum(in_chunks(self.n_steps * n, work))
        return mean

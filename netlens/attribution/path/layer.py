"""What a layer carries while the *input* goes along a straight path: conductance and internal influence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from netlens.attribution.baseline import baseline_like
from netlens.attribution.engine import gradient_of
from netlens.attribution.method import Method, register
from netlens.attribution.path.quadrature import Quadrature, quadrature
from netlens.attribution.path.rows import each, rows_of, summed
from netlens.fast.chunks import in_chunks
from netlens.flat import FlatModel
from netlens.objectives import Objective


@register
@dataclass(frozen=True, eq=False)
class LayerConductance(Method):
    """What flows through each neuron of `wrt` on the way from the baseline to the input.

    The input goes along the straight path in `n_steps` equal steps; over each of them a neuron's change counts times
    its gradient, the mean of those at both ends of the step. Where all that the objective sees passes the layer, the
    values sum to f(x) - f(baseline). With respect to the input it is integrated gradients.

    Dhamdhere et al. 2018, https://arxiv.org/abs/1805.12233
    """

    n_steps: int = 50
    baselines: float | Tensor = 0.0
    chunk: int | None = None
    reduction = "signed"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        quadrature("riemann_right", self.n_steps)  # refuses what is no number of steps
        start, n = baseline_like(x, self.baselines), len(x)

        def work(first: int, last: int) -> tuple[list[int], Tensor, Tensor]:
            rows, steps = rows_of(first, last, n)
            alpha = each(np.array(steps) / self.n_steps, x)
            points = start[rows] + alpha * (x[rows] - start[rows])
            return rows, *gradient_of(flat, points, objective.take(rows), wrt)

        before: list[tuple[Tensor, Tensor]] = []  # activation and gradient of the sample n rows ago
        total: dict[int, Tensor] = {}
        for rows, activations, gradients in in_chunks((self.n_steps + 1) * n, self.chunk, work):
            for row, activation, gradient in zip(rows, activations, gradients, strict=True):
                if len(before) == n:
                    last_activation, last_gradient = before.pop(0)
                    flow = (activation - last_activation) * (gradient + last_gradient) / 2
                    total[row] = total[row] + flow if row in total else flow
                before.append((activation, gradient))
        return torch.stack([total[row] for row in range(n)])


@register
@dataclass(frozen=True, eq=False)
class InternalInfluence(Method):
    """The mean gradient at `wrt` while the input goes along the straight path from the baseline.

    Leino et al. 2018, https://arxiv.org/abs/1802.03788
    """

    n_steps: int = 50
    baselines: float | Tensor = 0.0
    quadrature: Quadrature = "gausslegendre"
    chunk: int | None = None
    reduction = "signed"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        weights, places = quadrature(self.quadrature, self.n_steps)
        start, n = baseline_like(x, self.baselines), len(x)

        def work(first: int, last: int) -> Tensor:
            rows, steps = rows_of(first, last, n)
            points = start[rows] + each(places[steps], x) * (x[rows] - start[rows])
            _, gradient = gradient_of(flat, points, objective.take(rows), wrt)
            return summed(gradient * each(weights[steps], gradient), rows, n)

        return sum(in_chunks(self.n_steps * n, self.chunk, work))

"""What a layer says by itself."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from netlens.attribution.engine import activations_of, check_rows, per_sample, real_tensor
from netlens.attribution.method import Method, register
from netlens.flat import FlatModel
from netlens.objectives import Objective


@register
@dataclass(frozen=True)
class LayerActivation(Method):
    """The activation at `wrt`, whatever the objective; at the input, the input itself.

    The activation times its gradient is `InputXGradient` with `wrt` the layer.
    """

    reduction = "signed"
    reads_objective = False

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        activation = real_tensor(wrt, activations_of(flat, x, [wrt])[wrt])
        if len(x) > 1:  # of one sample all rows are its own
            check_rows(flat, x, {wrt: activation})
        return per_sample(wrt, activation, len(x)).detach().clone()

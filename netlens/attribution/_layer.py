"""The activation of a layer as an attribution."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from netlens.attribution._rows import check_rows, per_sample, real_tensor
from netlens.attribution.activations import activations_of
from netlens.attribution.method import Method, register
from netlens.flat import FlatModel
from netlens.objectives import Objective


@register
@dataclass(frozen=True)
class LayerActivation(Method):
    """The activation of a layer, whatever the objective.

    `values` have the shape and the unit of `wrt`. At the input they are the input itself. `InputXGradient` with respect
    to the layer gives the activation times its gradient.
    """

    reduction = "signed"
    reads_objective = False

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        activation = real_tensor(wrt, activations_of(flat, x, [wrt])[wrt])
        if len(x) > 1:  # the rows of a single sample need no check
            check_rows(flat, x, {wrt: activation})
        return per_sample(wrt, activation, len(x)).detach().clone()

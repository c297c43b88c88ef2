"""Excitation backprop: the share of each value in what excites a class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution.engine import gradient_of
from netlens.attribution.method import Method, register
from netlens.fast.folding import folded
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.rules.excitation import Excitation


@register
@dataclass(frozen=True)
class ExcitationBackprop(Method):
    """Excitation backprop: the probability that a winner-take-all walk down from the class passes each value.

    `values` has the shape of `wrt`, none is below 0, and they sum to the gradient of the objective at what it reads:
    1 for a logit. Only what excites leads down, so biases take nothing; what nothing excites ends there, and what lies
    at a constant (a class token) at the constant. docs/rules.md says what each layer does, and how much ends where.

    Zhang et al. 2016, https://arxiv.org/abs/1608.00507
    """

    reduction = "signed"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        flat = folded(flat, keep=flat.keys_of(objective.layers))
        with torch.autocast(x.device.type, enabled=False):  # it divides by activations, which half precision rounds off
            return gradient_of(flat.with_rules(Excitation()(flat)), x, objective, wrt)[1]

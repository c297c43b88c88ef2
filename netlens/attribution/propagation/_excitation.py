"""Excitation backprop: the share of each value in the excitation of a class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution.engine import gradient_of
from netlens.attribution.method import Method, register
from netlens.fast import folded
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.rules.excitation import Excitation


@register
@dataclass(frozen=True)
class ExcitationBackprop(Method):
    """The probability that a random walk from the class down along excitatory connections passes each value.

    `values` have the shape of `wrt`, and none is below 0. They sum to the gradient of the objective at the layers that
    it reads, which is 1 for a logit. The walk follows only connections that excite, so a bias gets nothing. It ends at
    a value that nothing excites, and at constants such as a class token. docs/rules.md says what each layer does, and
    how much probability ends where.

    Zhang et al. 2016, https://arxiv.org/abs/1608.00507
    """

    reduction = "signed"
    linear = True

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        flat = folded(flat, keep=flat.keys_of(objective.layers))
        with torch.autocast(x.device.type, enabled=False):  # divisions by activations need more than half precision
            return gradient_of(flat.with_rules(Excitation()(flat)), x, objective, wrt)[1]

"""Methods that are one gradient: true, guided or deconvolved."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from netlens.attribution._hidden import warn_of_hidden
from netlens.attribution.engine import gradient_of
from netlens.attribution.method import Method, register
from netlens.flat import FlatModel, Rules
from netlens.objectives import Objective
from netlens.rules import DECONVNET, GUIDED


@register
@dataclass(frozen=True)
class Saliency(Method):
    """How strongly each value moves the objective: the absolute value of the gradient.

    `values` are |d f / d value|. They have the shape of `wrt` and the unit of the objective f per unit of `wrt`.
    `InputGradient` keeps the sign.

    >>> import torch
    >>> from netlens.objectives import logit
    >>> flat = FlatModel.from_nn_Module(torch.nn.Linear(3, 2))
    >>> Saliency()(flat, torch.ones(1, 3), logit(0)).values.shape
    torch.Size([1, 3])

    Simonyan et al. 2013, https://arxiv.org/abs/1312.6034
    """

    def points(self, flat: FlatModel, x: Tensor, wrt: str) -> tuple[str, ...]:
        return (wrt,)

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        _, gradient = gradient_of(flat, x, objective, wrt)
        return gradient.abs()


@register
@dataclass(frozen=True)
class InputGradient(Method):
    """The gradient with its sign: in which direction each value moves the objective.

    `values` are d f / d value. They have the shape of `wrt` and the unit of the objective f per unit of `wrt`.
    `GuidedBackprop` keeps only the positive paths of this gradient.
    """

    linear = True

    def points(self, flat: FlatModel, x: Tensor, wrt: str) -> tuple[str, ...]:
        return (wrt,)

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        return gradient_of(flat, x, objective, wrt)[1]


@register
@dataclass(frozen=True)
class InputXGradient(Method):
    """The gradient of the objective times the input.

    `values` are value * d f / d value. They have the shape of `wrt` and the unit of the objective f. On a piecewise
    linear network without biases they sum to the objective exactly.

    Shrikumar et al. 2016, https://arxiv.org/abs/1605.01713
    """

    reduction = "signed"
    linear = True

    def points(self, flat: FlatModel, x: Tensor, wrt: str) -> tuple[str, ...]:
        return (wrt,)

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        activation, gradient = gradient_of(flat, x, objective, wrt)
        return activation * gradient


@register
@dataclass(frozen=True)
class GuidedBackprop(Method):
    """The gradient that keeps only positive paths: each rectifier passes a gradient only where it is positive.

    A rectifier also blocks the gradient where its input is negative, as in the true gradient. Functional rectifiers
    follow the same rule. `values` have the shape of `wrt`.

    Springenberg et al. 2014, https://arxiv.org/abs/1412.6806
    """

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        return _redirected(flat, x, objective, wrt, GUIDED)


@register
@dataclass(frozen=True)
class Deconvolution(Method):
    """The gradient in which each rectifier passes positive gradients, whatever the sign of its input.

    `GuidedBackprop` also blocks the gradient where the input is negative. `values` have the shape of `wrt`.

    Zeiler and Fergus 2013, https://arxiv.org/abs/1311.2901
    """

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        return _redirected(flat, x, objective, wrt, DECONVNET)


def _redirected(flat: FlatModel, x: Tensor, objective: Objective, wrt: str, rules: Rules) -> Tensor:
    """The gradient by rules for rectifiers. A warning names the layers that the rules do not reach."""
    _, gradient = gradient_of(flat, x, objective, wrt, rules)
    warn_of_hidden(flat, x, objective, wrt, rules.name)
    return gradient

"""Methods that are one gradient: true, guided or deconvolved."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from netlens.attribution.engine import gradient_of
from netlens.attribution.hidden import warn_of_hidden
from netlens.attribution.method import Method, register
from netlens.flat import FlatModel, Rules
from netlens.objectives import Objective
from netlens.rules import DECONVNET, GUIDED


@register
@dataclass(frozen=True)
class Saliency(Method):
    """How strongly each value moves the objective: the absolute value of the gradient.

    `InputGradient` is the gradient with its sign.

    Simonyan et al. 2013, https://arxiv.org/abs/1312.6034
    """

    def points(self, flat: FlatModel, wrt: str) -> tuple[str, ...]:
        return (wrt,)

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        _, gradient = gradient_of(flat, x, objective, wrt)
        return gradient.abs()


@register
@dataclass(frozen=True)
class InputGradient(Method):
    """The gradient with its sign: which way each value moves the objective.

    `GuidedBackprop` is the gradient that keeps only positive paths.
    """

    def points(self, flat: FlatModel, wrt: str) -> tuple[str, ...]:
        return (wrt,)

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        return gradient_of(flat, x, objective, wrt)[1]


@register
@dataclass(frozen=True)
class InputXGradient(Method):
    """Gradient of the objective times the input.

    `values` has the shape and units of `wrt` times those of the objective; on a piecewise linear network without biases
    it sums to the objective exactly.

    Shrikumar et al. 2016, https://arxiv.org/abs/1605.01713
    """

    reduction = "signed"

    def points(self, flat: FlatModel, wrt: str) -> tuple[str, ...]:
        return (wrt,)

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        at, gradient = gradient_of(flat, x, objective, wrt)
        return at * gradient


@register
@dataclass(frozen=True)
class GuidedBackprop(Method):
    """The gradient in which every rectifier, functional ones too, passes only positive gradients.

    Springenberg et al. 2014, https://arxiv.org/abs/1412.6806
    """

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        return _redirected(flat, x, objective, wrt, GUIDED)


@register
@dataclass(frozen=True)
class Deconvolution(Method):
    """The gradient in which every rectifier passes positive gradients only, wherever its forward was cut off.

    Zeiler and Fergus 2013, https://arxiv.org/abs/1311.2901
    """

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        return _redirected(flat, x, objective, wrt, DECONVNET)


def _redirected(flat: FlatModel, x: Tensor, objective: Objective, wrt: str, rules: Rules) -> Tensor:
    """The gradient by rules for rectifiers; it is said where these do not reach."""
    _, gradient = gradient_of(flat, x, objective, wrt, rules)
    warn_of_hidden(flat, x, objective, wrt, rules.name)
    return gradient

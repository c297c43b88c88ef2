"""Excitation backprop as a composite: relevance follows excitatory contributions and stays a probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from netlens.flat import FlatModel
from netlens.flat.layers import Add, Function, Subtract
from netlens.flat.operations import Trait, innermost, is_product, name_of, operation_of
from netlens.flat.rules import Rule
from netlens.flat.running import Step
from netlens.rules import relevance
from netlens.rules._excited import by_gradient, exciting, of_the_same_sign, product
from netlens.rules.composites import Attention, Composite

_SMOOTH = ("nearest", "nearest-exact", "area", "linear", "bilinear", "trilinear")
"""The modes of `interpolate` whose coefficients are not negative."""


@dataclass(frozen=True)
class Excitation(Composite):
    """Excitation backprop: the z⁺ rule without biases in convolutions and linear layers.

    In a sum, the terms that have the sign of the sum share the relevance. If no activation is negative, as in the
    paper, this equals z⁺. Each layer passes all relevance on, except at outputs that no input excites and at constants;
    see docs/rules.md.

    Zhang et al. 2016, https://arxiv.org/abs/1608.00507
    """

    attention: Attention = "constant"  # the weights of attention are probabilities already

    def weights(self, flat: FlatModel, step: Step, first: bool) -> Rule:
        return exciting()

    def mixes(self, layer: nn.Module, takers: Sequence[bool] | None = None) -> Rule:
        return by_gradient(takers) if takers is None else product(takers)

    def sums(self, layer: nn.Module, takers: Sequence[bool]) -> Rule:
        inner = innermost(layer)
        name = name_of(inner)
        row = operation_of(inner)
        # `abs` may read complex numbers, whose two parts share the relevance
        is_elementwise = (
            isinstance(inner, Function) and row.has(Trait.ELEMENTWISE | Trait.PER_CHANNEL) and name != "abs"
        )
        if hasattr(inner, "running_mean") or is_elementwise:
            return relevance.passing()
        if isinstance(inner, (Add, Subtract)):
            # a sum with a constant changes each value by itself, as a batch norm does
            return (
                relevance.passing(takers.index(True))
                if sum(takers) == 1
                else of_the_same_sign(0, takers, _signs(inner))
            )
        if row.has(Trait.POSITIVE) or _is_smooth(inner):
            return of_the_same_sign(0, takers)
        if is_product(inner) and isinstance(inner, Function):
            return product(takers, _bias(inner), raised=True)
        return by_gradient(takers)

    def attends(self, takers: Sequence[bool]) -> Rule:
        return of_the_same_sign(0, takers)

    def norms(self) -> Rule:
        return relevance.passing()

    def softmax(self) -> Rule:
        return relevance.passing()


def _signs(layer: Function) -> tuple[int, int]:
    """The signs of the two terms of a sum or a difference."""
    alpha = layer.kwargs.get("alpha", 1)
    sign = -1 if isinstance(alpha, (int, float)) and alpha < 0 else 1
    return 1, -sign if isinstance(layer, Subtract) else sign


def _bias(layer: Function) -> int | None:
    """The index of the input that is the bias of a convolution or linear map; the layer calls a function."""
    if not name_of(layer).startswith(("linear", "bilinear", "conv")):
        return None
    index = 3 if name_of(layer) == "bilinear" else 2
    bias: Any = layer.kwargs.get("bias", layer.args[index] if len(layer.args) > index else None)
    return getattr(bias, "index", None)


def _is_smooth(layer: Any) -> bool:
    """Whether a layer interpolates and none of its coefficients is negative."""
    if isinstance(layer, nn.Upsample):
        return layer.mode in _SMOOTH
    if name_of(layer) not in ("interpolate", "upsample"):
        return False
    return (layer.kwargs.get("mode") or (layer.args[3] if len(layer.args) > 3 else "nearest")) in _SMOOTH

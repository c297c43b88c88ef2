"""Relevance through normalizations that subtract a mean: layer, group and instance norm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from netlens.flat.layers import Function, Standardized, from_rows, to_rows
from netlens.flat.operations import innermost, name_of
from netlens.flat.rules import Rule
from netlens.rules._calls import arguments
from netlens.rules.relevance import STABILIZER, quotient

CENTERED = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, Standardized)
CENTERED_NAMES = ("layer_norm", "group_norm", "instance_norm")


def centered_norm(epsilon: float = STABILIZER) -> Rule:
    """The inputs of a norm share its relevance in proportion to their contributions. The deviation is a constant.

    AttnLRP has another rule, which passes the relevance on unchanged. That rule gives relevance to an input near 0 if
    the subtraction of the mean makes its output large. Such relevance grows without bound at the sum before the norm.

    Ali et al. 2022, https://arxiv.org/abs/2202.07304
    """

    def backward(
        layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance: Tensor
    ) -> Sequence[Tensor | None]:
        x, options = inputs[0], _options(layer, inputs)
        rows = _rows(layer, options, x)
        deviation = (rows.var(-1, keepdim=True, unbiased=False) + options["eps"]).sqrt()
        per_unit = quotient(relevance, output, epsilon)
        if options.get("weight") is not None:
            last_dims = isinstance(innermost(layer), nn.LayerNorm) or name_of(innermost(layer)) == "layer_norm"
            per_unit = per_unit * (options["weight"] if last_dims else options["weight"].view(-1, *[1] * (x.ndim - 2)))
        per_unit = _rows(layer, options, per_unit) / deviation
        centered = per_unit - per_unit.mean(-1, keepdim=True)  # the gradient of x - mean(x)
        shares = x * (from_rows(centered, x, options["dims"]) if "dims" in options else centered.view(x.shape))
        return [shares, *[None] * (len(inputs) - 1)]

    return Rule(backward, graph=False, name=f"centered_norm({epsilon:g})")


def _options(layer: nn.Module, inputs: Sequence[Tensor]) -> Mapping[str, Any]:
    """The options and parameters of the norm, by name."""
    inner: Any = innermost(layer)
    return arguments(layer, inputs, inputs) if isinstance(inner, Function) else vars(inner) | inner._parameters


def _rows(layer: nn.Module, options: Mapping[str, Any], x: Tensor) -> Tensor:
    """The values as rows (..., D), where the D values of a row share one mean and deviation."""
    if "dims" in options:
        return to_rows(x, options["dims"])
    if "normalized_shape" in options:
        return x.reshape(*x.shape[: x.ndim - len(options["normalized_shape"])], -1)
    return x.reshape(len(x), options["num_groups"], -1) if "num_groups" in options else x.flatten(2)

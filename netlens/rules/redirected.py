"""Redirected rectifiers: if a rectifier blocks the whole gradient of a sample, a part of the gradient still passes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from netlens.flat.operations import Trait, innermost, types_with
from netlens.flat.rules import Rule, Rules, vjp


def live_range(layer: nn.Module) -> tuple[float, float]:
    """The range of inputs in which a rectifier is not constant: its lower and its upper end."""
    layer = innermost(layer)
    if isinstance(layer, nn.Hardtanh):  # ReLU6 is a Hardtanh, too
        return layer.min_val, layer.max_val
    if isinstance(layer, nn.Hardsigmoid):
        return -3.0, 3.0
    if isinstance(layer, nn.Hardswish):
        return -3.0, math.inf
    return (layer.threshold if isinstance(layer, nn.Threshold) else 0.0), math.inf


def _redirected(layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, gradient: Tensor) -> tuple[Tensor | None]:
    (true,) = vjp(output, inputs, gradient)
    assert true is not None
    dead = _dead(true)
    if not dead.any():
        return (true,)
    low, high = live_range(layer)
    x = inputs[0]
    # a gradient that points away from the live range is of no use, and Adam's moments would keep it
    inwards = ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))
    return (torch.where(inwards & dead, gradient, true),)


def _straight(layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, gradient: Tensor) -> tuple[Tensor | None]:
    (true,) = vjp(output, inputs, gradient)
    assert true is not None
    dead = _dead(true)
    return (torch.where(dead, gradient, true) if dead.any() else true,)


def _dead(gradient: Tensor) -> Tensor:
    """For each sample, whether its gradient is 0 everywhere. The mask broadcasts to the gradient."""
    if gradient.ndim == 1:
        return gradient == 0
    dims = tuple(range(1, gradient.ndim))
    # `amax` and `amin` are fast in every memory format; `any` takes twenty times as long
    return (gradient.amax(dims, keepdim=True) == 0) & (gradient.amin(dims, keepdim=True) == 0)


MORTAL: tuple[type[nn.Module], ...] = types_with(Trait.MORTAL)
"""Rectifiers that are constant above or below a bound, so that no gradient passes there."""

STRAIGHT = Rule(_straight, name="straight through")
"""If a rectifier blocks the whole gradient of a sample, the whole gradient passes nevertheless.

This rule is for the rectifiers that an objective reads. Their inputs can then grow above the upper end of a ReLU6, or
fall below 0 if the objective asks for that. With the true derivative, the optimization would stop at this end.
"""

REDIRECTED = Rules(
    {MORTAL: Rule(_redirected, name="redirected")},
    name="redirected rectifiers",
)
"""If a rectifier blocks the whole gradient of a sample, the part that points into its live range passes nevertheless.

Below the lower end, this is a gradient that increases the input. Above the upper end (ReLU6, for example), it is one
that decreases the input. All other samples keep the true derivative. The rule is for the gradient of an objective that
is maximized. Without it, a unit that starts dead would stay dead, and its picture gray.

Olah et al. 2017, https://distill.pub/2017/feature-visualization
"""

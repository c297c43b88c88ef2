"""Redirected rectifiers: if a whole sample is dead, the gradients that would revive it still pass."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from netlens.flat.operations import Trait, innermost, types_with
from netlens.flat.rules import Rule, Rules, vjp


def live_range(layer: nn.Module) -> tuple[float, float]:
    """The range of inputs in which a rectifier has a derivative. Outside this range it is constant."""
    layer = innermost(layer)
    if isinstance(layer, nn.Hardtanh):  # and ReLU6, which is one
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
    # a gradient that pushes the unit further out of its live range is useless, and Adam would remember it
    inwards = ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))
    return (torch.where(inwards & dead, gradient, true),)


def _straight(layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, gradient: Tensor) -> tuple[Tensor | None]:
    (true,) = vjp(output, inputs, gradient)
    assert true is not None
    dead = _dead(true)
    return (torch.where(dead, gradient, true) if dead.any() else true,)


def _dead(gradient: Tensor) -> Tensor:
    """Whether the gradient of each sample is 0 everywhere, in a shape that broadcasts."""
    if gradient.ndim == 1:
        return gradient == 0
    dims = tuple(range(1, gradient.ndim))
    # extremes are read at the speed of memory, whatever its format; `any` takes twenty times as long
    return (gradient.amax(dims, keepdim=True) == 0) & (gradient.amin(dims, keepdim=True) == 0)


MORTAL: tuple[type[nn.Module], ...] = types_with(Trait.MORTAL)
"""Rectifiers that are constant beyond an end, so that no gradient passes there."""

STRAIGHT = Rule(_straight, name="straight through")
"""If a rectifier blocks the whole gradient of a sample, all of it passes.

This is for the rectifiers that an objective reads. Their units then grow safely beyond an upper end, or fall below a
lower end if the objective wants that. With the true derivative, they would stop at the first picture that reaches it.
"""

REDIRECTED = Rules(
    {MORTAL: Rule(_redirected, name="redirected")},
    name="redirected rectifiers",
)
"""If a rectifier blocks the whole gradient of a sample, the part that points into its live range passes: upwards below
zero and, for ReLU6 and its relatives, downwards above the upper end. All other samples keep the true derivative.

This is for the gradient of an objective that is maximized. A unit that starts dead would otherwise stay dead, and its
picture gray.

Olah et al. 2017, https://distill.pub/2017/feature-visualization
"""

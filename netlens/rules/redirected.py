"""Redirected rectifiers: where a whole sample is dead, gradients still pass that would bring it back to life."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from netlens.flat.operations import innermost, types_with
from netlens.flat.rules import Rule, Rules, vjp
from netlens.flat.traits import Trait


def live_range(layer: nn.Module) -> tuple[float, float]:
    """The inputs between which a rectifier has a derivative; outside, it is constant."""
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
    # a gradient that would push the unit further out of its live range does no good, and Adam would remember it
    inwards = ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))
    return (torch.where(inwards & dead, gradient, true),)


def _straight(layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, gradient: Tensor) -> tuple[Tensor | None]:
    (true,) = vjp(output, inputs, gradient)
    assert true is not None
    dead = _dead(true)
    return (torch.where(dead, gradient, true) if dead.any() else true,)


def _dead(gradient: Tensor) -> Tensor:
    """Of which samples nothing got through, in a shape that broadcasts."""
    if gradient.ndim == 1:
        return gradient == 0
    dims = tuple(range(1, gradient.ndim))
    # extremes are read at the speed of memory, whatever its format; `any` takes twenty times as long
    return (gradient.amax(dims, keepdim=True) == 0) & (gradient.amin(dims, keepdim=True) == 0)


MORTAL: tuple[type[nn.Module], ...] = types_with(Trait.MORTAL)
"""Rectifiers that are constant beyond an end, so that no gradient gets through."""

STRAIGHT = Rule(_straight, name="straight through")
"""Where nothing of a sample's gradient gets through a rectifier, all of it passes.

For the rectifiers that an objective reads: their units then go on to grow safely beyond an upper end, or below the
lower one if that is what is asked for, where the true derivative would end with the first picture that just reaches it.
"""

REDIRECTED = Rules(
    {MORTAL: Rule(_redirected, name="redirected")},
    name="redirected rectifiers",
)
"""Where nothing of a sample's gradient gets through a rectifier, what points into its live range passes: up below zero
and, for ReLU6 and its kin, down above the upper end. All other samples keep the true derivative.

For the gradient of something to be maximized. What starts dead would otherwise stay so, and its picture gray.
Olah et al. 2017, https://distill.pub/2017/feature-visualization
"""

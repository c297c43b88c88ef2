"""Layers of several activations: products, quotients, choices between them; and the path, which serves any layer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netlens.flat.layers import Function, Slot, fill
from netlens.flat.rules import vjp
from netlens.rules.calls import Propagate, call, innermost, name_of, substituted, tensors

PLACES = 32


def along_path(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor, places: int = PLACES
) -> Sequence[Tensor | None]:
    """The mean of the true gradients on the straight path from the reference to the inputs, all of them together.

    By the quadrature of Gauss and Legendre: exact for polynomials of degree 2 * `places`, and near for what is smooth.
    """
    total: list[Tensor | None] = [None] * len(inputs)
    with torch.enable_grad():
        for place, weight in zip(*np.polynomial.legendre.leggauss(places), strict=True):
            points = [_between(x, r, (1 + float(place)) / 2) for x, r in zip(inputs, tensors(reference), strict=True)]
            output = call(layer, reference, points)
            for i, part in enumerate(vjp(output, points, gradient.to(output.dtype))):
                if part is not None:
                    before = total[i]
                    total[i] = part * (weight / 2) if before is None else before + part * (weight / 2)
    return total


def _between(x: Tensor, r: Tensor, share: float) -> Tensor:
    if not x.is_floating_point():  # a mask or an index has no way between
        return x
    # where both are -inf, under a mask, so is everything between
    return torch.where(x == r, x, r + share * (x - r)).detach().requires_grad_(x.requires_grad)


def product(factors: int) -> Propagate:
    """Products of activations: of two, each with the mean of the other before and after, half of the change to each."""
    places = (factors + 1) // 2

    def propagate(
        layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor
    ) -> Sequence[Tensor | None]:
        if not all(value.is_floating_point() for value in inputs):  # x * (x > 0)
            return chosen(layer, inputs, reference, gradient)
        return along_path(layer, inputs, reference, gradient, places)

    return propagate


def quotient(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor
) -> Sequence[Tensor | None]:
    """y = a / b changes by (2 da - (y + y') db) / (b + b'); where b changes its sign, the change is all of b."""
    inner = innermost(layer)
    if not isinstance(inner, Function) or inner.kwargs or len(inner.args) != 2:
        return along_path(layer, inputs, reference, gradient)
    (a, b), (ra, rb) = (fill(inner.args, substituted(reference, others)) for others in (inputs, tensors(reference)))
    (sign, before), size = (torch.sign(torch.as_tensor(value)) for value in (b, rb)), abs(b) + abs(rb)
    shares = (gradient * (sign + before) / size, -gradient * (before * a / b + sign * ra / rb) / size)
    found: list[Tensor | None] = []
    for index, value in zip(_places(reference), inputs, strict=True):
        own = [share for share, arg in zip(shares, inner.args, strict=True) if arg == Slot(index)]
        found.append(sum(own).sum_to_size(value.shape).to(value.dtype) if value.requires_grad else None)
    return found


def larger(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor
) -> Sequence[Tensor | None]:
    """max(a, b) = b + relu(a - b), and min(a, b) = a - relu(a - b), by the slope of the rectifier."""
    if len(inputs) != 2:
        return along_path(layer, inputs, reference, gradient)
    (a, b), (ra, rb) = inputs, tensors(reference)
    x, r = a - b, ra - rb
    change = x - r
    slope = torch.where(change == 0, (x > 0) + (x == 0) / 2, (x.relu() - r.relu()) / change)
    shares = [gradient * slope, gradient * (1 - slope)]
    if name_of(innermost(layer)).startswith("min"):
        shares.reverse()
    return [share.sum_to_size(value.shape) for share, value in zip(shares, inputs, strict=True)]


def chosen(
    layer: nn.Module,
    inputs: Sequence[Tensor],
    reference: Sequence[Any],
    gradient: Tensor,
    masks: Collection[int] = (),
) -> Sequence[Tensor | None]:
    """What a mask chooses: the true gradient where the mask is that of the reference, and slopes where it is not.

    masks: the places of masks among the inputs, besides those that are no numbers. Of two activations that are chosen
    between, each takes a part of the rise by the square of its change.
    """
    others = tensors(reference)
    rise = call(layer, reference, inputs) - call(layer, reference, others)
    switched = torch.zeros_like(rise, dtype=torch.bool)
    changes: list[Tensor | None] = []
    for place, (x, r) in enumerate(zip(inputs, others, strict=True)):
        if not x.is_floating_point() or place in masks:
            switched |= x != r
        changes.append((x - r).nan_to_num(0, 0, 0) if x.requires_grad else None)  # masked by infinity
    size = sum(change.square() for change in changes if change is not None) * torch.ones_like(rise)
    # where neither has changed, no slope leads over the rise
    slopes = torch.where(switched & (size > 0) & rise.isfinite(), gradient * rise / size, 0)
    steady = along_path(layer, inputs, reference, gradient.masked_fill(switched, 0), places=1)
    return [
        None if part is None or change is None else part + (slopes * change).sum_to_size(part.shape)
        for part, change in zip(steady, changes, strict=True)
    ]


def _places(reads: Sequence[Any]) -> list[int]:
    return [index for index, value in enumerate(reads) if isinstance(value, Tensor)]

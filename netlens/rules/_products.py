"""Multipliers of layers that read several activations: products, quotients, and choices between activations."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netlens.flat.layers import Function, Slot, fill
from netlens.flat.operations import innermost, name_of
from netlens.flat.rules import is_differentiable
from netlens.rules._calls import Propagate, call, reads_of, tensors
from netlens.rules._path import Estimated, along_path
from netlens.rules._way import mean_gradient


def product(factors: int) -> Propagate:
    """The multipliers of products. That of one of two factors is the mean of the other before and after."""
    places = (factors + 1) // 2

    def propagate(
        layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor
    ) -> Sequence[Tensor | None]:
        if not all(is_differentiable(value) for value in inputs):  # x * (x > 0)
            return chosen(layer, inputs, reference, gradient)
        return mean_gradient(layer, inputs, reference, gradient, places)

    return propagate


def quotient(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor
) -> Sequence[Tensor | None]:
    """y = a / b changes by (2 da - (y + y') db) / (b + b'). If b changes its sign, b gets the whole change."""
    inner = innermost(layer)
    if not isinstance(inner, Function) or inner.kwargs or len(inner.args) != 2:
        return along_path(layer, inputs, reference, gradient)
    (a, b), (ra, rb) = (fill(inner.args, reads_of(layer, reference, others)) for others in (inputs, tensors(reference)))
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
    """max(a, b) = b + relu(a - b) and min(a, b) = a - relu(a - b), with the slope of the rectifier."""
    if len(inputs) != 2:
        return along_path(layer, inputs, reference, gradient)
    (a, b), (ra, rb) = inputs, tensors(reference)
    x, r = a - b, ra - rb
    choice = (a > b).to(x.dtype) + (a == b).to(x.dtype) / 2
    slope = (x.relu() - r.relu()) / (x - r)
    slope = torch.where((x == r) | slope.isnan(), choice, slope)  # masks hold infinities
    shares = [gradient * slope, gradient * (1 - slope)]
    if name_of(innermost(layer)).startswith("min"):
        shares.reverse()
    return [share.sum_to_size(value.shape).to(value.dtype) for share, value in zip(shares, inputs, strict=True)]


def chosen(
    layer: nn.Module,
    inputs: Sequence[Tensor],
    reference: Sequence[Any],
    gradient: Tensor,
    numbers: Collection[int] = (),
) -> Sequence[Tensor | None]:
    """The multipliers of a choice by a mask: true gradients where the mask is that of the reference, else slopes.

    Where the mask changes, each of the two activations takes a part of the rise in proportion to the square of its
    change. If neither changes, no slope explains the rise. `numbers` are the places of inputs that are masks as
    numbers.
    """
    others = tensors(reference)
    pairs = list(zip(inputs, others, strict=True))
    places_of_masks = {place for place, (x, _) in enumerate(pairs) if place in numbers or not is_differentiable(x)}
    masks = [pairs[place] for place in places_of_masks]
    if name_of(innermost(layer)) == "setitem" and any(mask.dtype != torch.bool for mask, _ in masks):
        return along_path(layer, inputs, reference, gradient)
    rise = call(layer, reference, inputs) - call(layer, reference, others)
    switched = torch.zeros_like(rise, dtype=torch.bool)
    for mask, before in masks:
        changed = mask != before
        if name_of(innermost(layer)) == "setitem":  # x[mask] masks the first dimensions
            changed = changed.view(*changed.shape, *[1] * (rise.ndim - changed.ndim))
        switched |= changed
    changes = [
        (x - r).nan_to_num(0, 0, 0) if x.requires_grad and place not in places_of_masks else None  # masked by infinity
        for place, (x, r) in enumerate(pairs)
    ]
    size = sum(change.square() for change in changes if change is not None) * torch.ones_like(rise)
    slopes = torch.where(switched & (size > 0) & rise.isfinite(), gradient * rise / size, 0)
    steady = mean_gradient(layer, inputs, reference, gradient.masked_fill(switched, 0), places=1)
    found = [
        None if part is None or change is None else part + (slopes * change).sum_to_size(part.shape)
        for part, change in zip(steady, changes, strict=True)
    ]
    lost = torch.where(switched & (size == 0) & rise.isfinite(), gradient * rise, 0)
    return Estimated(found, lost.reshape(len(lost), -1).sum(1) if lost.ndim else lost[None])


def _places(reads: Sequence[Any]) -> list[int]:
    return [index for index, value in enumerate(reads) if isinstance(value, Tensor)]

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
from netlens.rules._quadrature import mean_gradient


def product(factors: int) -> Propagate:
    """The multipliers of products. With two factors a * b, the multiplier of a is the mean of b and its reference."""
    nodes = (factors + 1) // 2

    def propagate(
        layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor
    ) -> Sequence[Tensor | None]:
        if not all(is_differentiable(value) for value in inputs):  # a factor is a mask: x * (x > 0)
            return chosen(layer, inputs, reference, gradient)
        return mean_gradient(layer, inputs, reference, gradient, nodes)

    return propagate


def quotient(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor
) -> Sequence[Tensor | None]:
    """The multipliers of y = a / b, whose reference is y' = a' / b'.

    y changes by (2 da - (y + y') db) / (b + b'). If b changes its sign, b gets the whole change.
    """
    inner = innermost(layer)
    if not isinstance(inner, Function) or inner.kwargs or len(inner.args) != 2:
        return along_path(layer, inputs, reference, gradient)
    (a, b), (ra, rb) = (fill(inner.args, reads_of(layer, reference, values)) for values in (inputs, tensors(reference)))
    (sign, reference_sign), size = (torch.sign(torch.as_tensor(value)) for value in (b, rb)), abs(b) + abs(rb)
    shares = (gradient * (sign + reference_sign) / size, -gradient * (reference_sign * a / b + sign * ra / rb) / size)
    multipliers: list[Tensor | None] = []
    for index, value in zip(_tensor_indices(reference), inputs, strict=True):
        terms = [share for share, arg in zip(shares, inner.args, strict=True) if arg == Slot(index)]
        multipliers.append(sum(terms).sum_to_size(value.shape).to(value.dtype) if value.requires_grad else None)
    return multipliers


def larger(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor
) -> Sequence[Tensor | None]:
    """The multipliers of max(a, b) = b + relu(a - b) and min(a, b) = a - relu(a - b), by the slope of the ReLU."""
    if len(inputs) != 2:
        return along_path(layer, inputs, reference, gradient)
    (a, b), (ra, rb) = inputs, tensors(reference)
    x, r = a - b, ra - rb
    choice = (a > b).to(x.dtype) + (a == b).to(x.dtype) / 2
    slope = (x.relu() - r.relu()) / (x - r)
    slope = torch.where((x == r) | slope.isnan(), choice, slope)  # the slope of infinite masks is NaN
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
    """The multipliers of a layer that chooses between two activations by a mask, such as `where`.

    Where the mask equals the mask of the reference, the multipliers are the true gradients. Where it differs, the two
    activations share the change of the output in proportion to the squares of their changes. If no activation changes,
    the change of the output is unexplained. `numbers` are the indices of inputs that are masks in the form of numbers.
    """
    reference_tensors = tensors(reference)
    pairs = list(zip(inputs, reference_tensors, strict=True))
    mask_indices = {index for index, (x, _) in enumerate(pairs) if index in numbers or not is_differentiable(x)}
    masks = [pairs[index] for index in mask_indices]
    if name_of(innermost(layer)) == "setitem" and any(mask.dtype != torch.bool for mask, _ in masks):
        return along_path(layer, inputs, reference, gradient)
    rise = call(layer, reference, inputs) - call(layer, reference, reference_tensors)
    switched = torch.zeros_like(rise, dtype=torch.bool)
    for mask, reference_mask in masks:
        changed = mask != reference_mask
        if name_of(innermost(layer)) == "setitem":  # x[mask] masks the first dimensions
            changed = changed.view(*changed.shape, *[1] * (rise.ndim - changed.ndim))
        switched |= changed
    changes = [
        (x - r).nan_to_num(0, 0, 0) if x.requires_grad and index not in mask_indices else None  # masks hold infinities
        for index, (x, r) in enumerate(pairs)
    ]
    square_sum = sum(change.square() for change in changes if change is not None) * torch.ones_like(rise)
    slopes = torch.where(switched & (square_sum > 0) & rise.isfinite(), gradient * rise / square_sum, 0)
    true_gradients = mean_gradient(layer, inputs, reference, gradient.masked_fill(switched, 0), nodes=1)
    multipliers = [
        None if multiplier is None or change is None else multiplier + (slopes * change).sum_to_size(multiplier.shape)
        for multiplier, change in zip(true_gradients, changes, strict=True)
    ]
    unexplained = torch.where(switched & (square_sum == 0) & rise.isfinite(), gradient * rise, 0)
    return Estimated(
        multipliers, unexplained.reshape(len(unexplained), -1).sum(1) if unexplained.ndim else unexplained[None]
    )


def _tensor_indices(reads: Sequence[Any]) -> list[int]:
    return [index for index, value in enumerate(reads) if isinstance(value, Tensor)]

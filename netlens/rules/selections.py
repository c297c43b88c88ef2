"""Selections: layers that select some of their input values by rank, from a maximum to a complete sort."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netlens.flat.layers import Function
from netlens.flat.operations import innermost, name_of
from netlens.rules._calls import call, tensors
from netlens.rules._path import along_path

_DIM = {"sort": 1, "msort": 1, "topk": 2, "kthvalue": 2, "median": 1, "max": 1, "min": 1}
"""The index of the argument that is the dimension."""
SELECTIONS = tuple(_DIM)
_PAIRS = 2**24
"""The number of pairs of an output and an input that are compared at a time, which bounds the memory."""


def selection(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Any
) -> Sequence[Tensor | None]:
    """The multipliers of `sort`, `topk`, `kthvalue`, `median`, `max` and `min` of one tensor."""
    if len(inputs) != 1 or inputs[0].ndim == 0:
        return along_path(layer, inputs, reference, gradient)
    gradient = gradient if isinstance(gradient, Tensor) else gradient[0]
    if gradient is None:  # only the indices are read
        return [None]
    x, r, dim = inputs[0], tensors(reference)[0], _dim(layer)
    if dim is None:  # the selection is from all values
        shape = x.shape
        x, r, dim = x.flatten(), r.flatten(), 0
        (x_value, x_index), (r_value, r_index) = (_of_all(layer, value) for value in (x, r))
        return [by_rank(x, r, x_value, r_value, x_index, r_index, gradient.view(1)).view(shape)]
    values_only = name_of(innermost(layer)) == "msort"
    x_selected, r_selected = (value.sort(0) if values_only else call(layer, reference, [value]) for value in (x, r))
    tensors_ = (x_selected[0], r_selected[0], x_selected[1], r_selected[1], gradient)
    moved = [tensor.movedim(dim, -1) if tensor.ndim == x.ndim else tensor.unsqueeze(-1) for tensor in tensors_]
    return [by_rank(x.movedim(dim, -1), r.movedim(dim, -1), *moved).movedim(-1, dim)]


def _dim(layer: nn.Module) -> int | None:
    """The dimension along which a function selects. None if it selects from all values together."""
    inner = innermost(layer)
    assert isinstance(inner, Function)
    name = name_of(inner)
    position = _DIM[name]
    if name == "msort":
        return 0
    if name == "sort" and len(inner.args) > 2:  # sort(x, dim, descending) or sort(x, stable, dim, descending)
        position = next(i for i, arg in enumerate(inner.args) if i and not isinstance(arg, bool))
    dim = inner.args[position] if len(inner.args) > position and not isinstance(inner.args[position], bool) else None
    for keyword in ("dim", "axis"):
        dim = inner.kwargs.get(keyword, dim)
    return dim if dim is not None or name in ("median", "max", "min") else -1


def _of_all(layer: nn.Module, values: Tensor) -> tuple[Tensor, Tensor]:
    name = name_of(innermost(layer))
    selected: Any = getattr(torch, name)(values, 0, keepdim=True)
    return selected.values, selected.indices


def by_rank(
    x: Tensor, r: Tensor, x_value: Tensor, r_value: Tensor, x_index: Tensor, r_index: Tensor, gradient: Tensor
) -> Tensor:
    """The multipliers of a selection along the last dimension.

    An element crosses the rank if its value in r is at most `r_value`, and its value in x is at least `x_value`. If the
    selected value rises, the whole rise goes to the element at `x_index` if that element crosses; else to the element
    at `r_index` if that one crosses; else in equal parts to all elements that cross. At least one element crosses,
    because the ranks are the same. If the selected value falls, all signs are reversed, and `r_index` comes first. So
    no multiplier is larger than the gradient.

    Args:
        x: The input (..., n).
        r: The reference (..., n).
        x_value: The values selected from x (..., k), each by its rank.
        r_value: The values of the same ranks in r (..., k).
        x_index: The indices of `x_value` in x (..., k).
        r_index: The indices of `r_value` in r (..., k).
        gradient: The gradient at the selected values (..., k).
    """
    multipliers = torch.zeros_like(x, dtype=gradient.dtype)
    rise = torch.where(x_value == r_value, 0, x_value - r_value)  # the difference of equal infinities is NaN
    rises, remaining = rise > 0, rise != 0
    for index, direction in ((x_index, rises), (r_index, ~rises), (r_index, rises), (x_index, ~rises)):
        new, old = x.gather(-1, index), r.gather(-1, index)
        crosses = remaining & direction & _crosses(new, old, x_value, r_value, rises)
        multipliers.scatter_add_(-1, index, gradient * torch.where(crosses, rise / (new - old), 0))
        remaining = remaining & ~crosses
    # if neither the selected value nor the element at its index changes, the derivative is the multiplier
    unchanged = (x_value == r_value) & (x.gather(-1, x_index) == r.gather(-1, x_index))
    multipliers.scatter_add_(-1, x_index, gradient * unchanged)
    if remaining.any():
        size = max(1, _PAIRS // x.numel())
        for column in torch.where(remaining.reshape(-1, remaining.shape[-1]).any(0))[0].split(size):
            columns = (
                tensor[..., column].unsqueeze(-1) for tensor in (x_value, r_value, rises, remaining, gradient * rise)
            )
            multipliers += _among_all(x.unsqueeze(-2), r.unsqueeze(-2), *columns).sum(-2)
    return multipliers


def _crosses(new: Tensor, old: Tensor, x_value: Tensor, r_value: Tensor, rises: Tensor) -> Tensor:
    """Whether an element crosses the rank: it changes from `old` to `new`, past both selected values."""
    return torch.where(rises, (old <= r_value) & (new >= x_value), (old >= r_value) & (new <= x_value))


def _among_all(
    x: Tensor, r: Tensor, x_value: Tensor, r_value: Tensor, rises: Tensor, remaining: Tensor, share: Tensor
) -> Tensor:
    crosses = remaining & _crosses(x, r, x_value, r_value, rises)
    return torch.where(crosses, share / (crosses.sum(-1, keepdim=True) * (x - r)), 0)

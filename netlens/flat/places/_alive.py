"""Which elements of a value matter to what is read later: followed backwards through the layers, without numbers.

An element matters if the result can depend on it, whatever the weights are. So the patch tokens after the last
attention do not matter to a network that reads the class token, although they are computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netlens.flat.layers import MatMul
from netlens.flat.operations import Relevance, Trait, is_kind, name_of, operation_of

Alive = Tensor | list[Any] | None
"""The elements that matter, as booleans that broadcast to the value; a list for several tensors; None for all."""

_SELECTS = {"getitem", "select", "narrow", "split", "tensor_split", "chunk", "unbind", "index_select", "diagonal"}
_SAME = Trait.ELEMENTWISE | Trait.KEEPS | Trait.MEETS


def alive_before(layer: nn.Module, inputs: Sequence[Any], output: Any, alive: Alive) -> list[Alive]:
    """Which elements of each input matter if these elements of the output do.

    Args:
        layer: The layer.
        inputs: Stand-ins of what it reads.
        output: The stand-in of what it gives.
        alive: The elements of the output that matter.
    """
    row, name = operation_of(layer), name_of(layer)
    everything: list[Alive] = [None] * len(inputs)
    if row.has(Trait.MOVES) and not row.has(Trait.KEEPS):
        if alive is None and name not in _SELECTS:
            return everything
        return _moved_back(layer, inputs, output, alive)
    if not isinstance(alive, Tensor) or not isinstance(output, Tensor):
        return everything
    whole = alive.expand(output.shape)
    if row.has(_SAME) or name in ("where", "masked_fill"):
        return [_summed_to(whole, value) for value in inputs]
    if row.has(Trait.CHANNELS_LAST | Trait.SOFTMAX) or (row.has(Trait.NORM) and output.ndim in (2, 3)):
        return _rows_back(inputs, whole, output.ndim - 1)
    if row.relevance is Relevance.ATTENDS:
        queries = _rows_back(inputs[:1], whole, output.ndim - 1)
        return [*queries, *everything[1:]]
    if is_kind(layer, MatMul) and len(inputs) == 2 and min(value.ndim for value in inputs) == output.ndim > 1:
        return [whole.any(-1, keepdim=True), whole.any(-2, keepdim=True)]
    return everything


def _rows_back(inputs: Sequence[Any], alive: Tensor, dim: int) -> list[Alive]:
    """All elements of a row matter if one of the output does. Parameters matter anyway."""
    rows: list[Alive] = [None] * len(inputs)
    first = inputs[0]
    if isinstance(first, Tensor) and first.ndim == alive.ndim and first.shape[:dim] == alive.shape[:dim]:
        rows[0] = alive.any(dim, keepdim=True)
    return rows


def _summed_to(alive: Tensor, value: Any) -> Alive:
    """The elements that matter in a value that is broadcast to the output: those of which at least one copy does."""
    if not isinstance(value, Tensor):
        return None
    extra = alive.ndim - value.ndim
    if extra > 0:
        alive = alive.flatten(0, extra - 1).any(0) if extra > 1 else alive.any(0)
    for dim, size in enumerate(value.shape):
        if size == 1 and alive.shape[dim] > 1:
            alive = alive.any(dim, keepdim=True)
    return alive


def _moved_back(layer: nn.Module, inputs: Sequence[Any], output: Any, alive: Alive) -> list[Alive]:
    """The elements of the inputs that a layer moves to elements of the output that matter; its gradient shows which."""
    leaves: list[Tensor] = []

    def leaf(value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return type(value)(leaf(each) for each in value)
        if not isinstance(value, Tensor):
            return value
        if not value.is_floating_point():
            return torch.zeros(value.shape, dtype=value.dtype, device="cpu")
        leaves.append(torch.zeros(value.shape, device="cpu", requires_grad=True))
        return leaves[-1]

    with torch.enable_grad():
        result = layer(*[leaf(value) for value in inputs])
    if isinstance(result, Tensor):
        ends = [(result, alive)]
    else:
        ends = list(zip(result, alive if isinstance(alive, list) else [alive] * len(result), strict=True))
    ends = [(value, which) for value, which in ends if value.requires_grad]
    weights = [
        which.expand(value.shape).float() if isinstance(which, Tensor) else torch.ones_like(value)
        for value, which in ends
    ]
    gradients: Sequence[Tensor | None] = [None] * len(leaves)
    if ends:
        gradients = torch.autograd.grad([value for value, _ in ends], leaves, weights, allow_unused=True)
    back = iter(list(zip(leaves, gradients, strict=True)))

    def alive_in(value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return [alive_in(each) for each in value]
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return None
        origin, gradient = next(back)
        return torch.zeros(origin.shape, dtype=torch.bool, device="cpu") if gradient is None else gradient > 0

    return [alive_in(value) for value in inputs]


def joined(first: Alive, second: Alive) -> Alive:
    """The elements that matter to one of two readers."""
    if first is None or second is None:
        return None
    if isinstance(first, list) and isinstance(second, list):
        return [joined(a, b) for a, b in zip(first, second, strict=True)]
    return first | second if isinstance(first, Tensor) and isinstance(second, Tensor) else None

"""A layer as a function: its name, its arguments, and its value for other tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netlens.flat.bound import Bound
from netlens.flat.layers import Function, Wrapper, fill
from netlens.flat.operations import innermost

Propagate = Callable[[nn.Module, Sequence[Tensor], Sequence[Any], Tensor], Sequence[Tensor | None]]
"""`propagate(layer, inputs, reference, gradient)` gives one gradient per tensor input. `reference` is all that the
layer read in the run on the baseline."""


def tensors(reads: Sequence[Any]) -> list[Tensor]:
    """The tensors among the values that a layer reads, including those in tuples."""
    return [value for value in pytree.tree_leaves(list(reads)) if isinstance(value, Tensor)]


def call(layer: nn.Module, reads: Sequence[Any], others: Sequence[Tensor]) -> Any:
    """The output of the layer with `others` in place of the tensors that it read."""
    return layer(*others) if isinstance(layer, Bound) else layer(*substituted(reads, others))


def substituted(reads: Sequence[Any], others: Sequence[Tensor]) -> list[Any]:
    """The values that a layer read, with `others` in place of the tensors."""
    given = iter(others)
    values: list[Any] = pytree.tree_map_only(Tensor, lambda _: next(given), list(reads))
    return values


def reads_of(layer: nn.Module, reads: Sequence[Any], others: Sequence[Tensor]) -> list[Any]:
    """All values that the innermost layer reads if `layer` is called with `others` in place of its tensors."""
    given = list(others) if isinstance(layer, Bound) else substituted(reads, others)
    while isinstance(layer, Wrapper):
        given = list(layer.reads(tensors(given))) if isinstance(layer, Bound) else given
        layer = layer.inner
    return given


def arguments(layer: nn.Module, reads: Sequence[Any], others: Sequence[Tensor]) -> Mapping[str, Any]:
    """The arguments of the Python function of a layer by name, with `others` in place of the tensors that it read."""
    inner = innermost(layer)
    assert isinstance(inner, Function)
    inputs = reads_of(layer, reads, others)
    bound = inspect.signature(inner.function).bind(*fill(inner.args, inputs), **fill(inner.kwargs, inputs))
    bound.apply_defaults()
    return bound.arguments


def wide(layer: nn.Module, value: Tensor) -> Tensor:
    """Half precision as float32, because a difference of two values would otherwise have no digits.

    A layer with weights stays in the type of its weights.
    """
    half = value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half and next(layer.parameters(), None) is None else value

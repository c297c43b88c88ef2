"""The call of a layer: its arguments, and its output if other tensors replace the tensors that it read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netlens.flat.layers import Bound, Function, Wrapper, fill
from netlens.flat.operations import innermost

Propagate = Callable[[nn.Module, Sequence[Tensor], Sequence[Any], Tensor], Sequence[Tensor | None]]
"""`propagate(layer, inputs, reference, gradient)` gives a gradient per tensor input. `reference` holds all values that
the layer read in the run on the baseline."""


def tensors(reads: Sequence[Any]) -> list[Tensor]:
    """The tensors among the values that a layer reads. Tensors inside tuples count, too."""
    return [value for value in pytree.tree_leaves(list(reads)) if isinstance(value, Tensor)]


def call(layer: nn.Module, reads: Sequence[Any], inputs: Sequence[Tensor]) -> Any:
    """The output of the layer if `inputs` replace the tensors among its `reads`."""
    return layer(*inputs) if isinstance(layer, Bound) else layer(*substituted(reads, inputs))


def substituted(reads: Sequence[Any], inputs: Sequence[Tensor]) -> list[Any]:
    """The values that a layer read, with `inputs` in place of the tensors among them."""
    remaining = iter(inputs)
    values: list[Any] = pytree.tree_map_only(Tensor, lambda _: next(remaining), list(reads))
    return values


def reads_of(layer: nn.Module, reads: Sequence[Any], inputs: Sequence[Tensor]) -> list[Any]:
    """All values that the innermost layer reads if `inputs` replace the tensors among the `reads` of `layer`."""
    values = list(inputs) if isinstance(layer, Bound) else substituted(reads, inputs)
    while isinstance(layer, Wrapper):
        values = list(layer.reads(tensors(values))) if isinstance(layer, Bound) else values
        layer = layer.inner
    return values


def arguments(layer: nn.Module, reads: Sequence[Any], inputs: Sequence[Tensor]) -> Mapping[str, Any]:
    """The arguments of the Python function of a layer, by name, if `inputs` replace the tensors among its `reads`."""
    inner = innermost(layer)
    assert isinstance(inner, Function)
    inputs = reads_of(layer, reads, inputs)
    bound = inspect.signature(inner.function).bind(*fill(inner.args, inputs), **fill(inner.kwargs, inputs))
    bound.apply_defaults()
    return bound.arguments


def wide(layer: nn.Module, value: Tensor) -> Tensor:
    """The value as float32 if it has half precision, because a difference of half-precision values has few digits.

    If the layer has weights, the value keeps its type, which is that of the weights.
    """
    half = value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half and next(layer.parameters(), None) is None else value

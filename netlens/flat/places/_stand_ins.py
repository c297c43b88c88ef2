"""Stand-ins for values: tensors of the right shape and type without numbers, and the layers run on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from netlens.flat.layers import Constant, Function, MatMul
from netlens.flat.operations import Trait, is_ours, name_of, operation_of
from netlens.flat.twin import throwaway

_SAME_SHAPE = Trait.ELEMENTWISE | Trait.NORM | Trait.SOFTMAX | Trait.KEEPS


def stand_in(value: Any) -> Any:
    """The value with a tensor without numbers in place of each tensor."""
    return pytree.tree_map_only(Tensor, lambda tensor: torch.empty_like(tensor, device="meta"), value)


def output_of(layer: nn.Module, inputs: Sequence[Any]) -> Any:
    """A stand-in for the output of a layer, from stand-ins for its inputs."""
    if type(layer) is Constant:
        return stand_in(layer.value)
    first = inputs[0] if inputs else None
    if isinstance(first, Tensor):
        if isinstance(layer, nn.modules.conv._ConvNd):
            shape = _convolved(layer, first.shape)
            if shape is not None:
                return first.new_empty(shape)
        if isinstance(layer, nn.Linear) and is_ours(type(layer)):
            return first.new_empty((*first.shape[:-1], layer.out_features))
        if is_ours(type(layer)) or name_of(layer):
            row = operation_of(layer)
            if row.has(_SAME_SHAPE) and not row.has(Trait.CASTS):
                return first
            if len(inputs) == 1 and row.has(Trait.MEETS) and first.is_floating_point():
                return first  # arithmetic with a number
            if len(inputs) == 2 and isinstance(inputs[1], Tensor) and inputs[1].dtype == first.dtype:
                if row.has(Trait.MEETS):
                    same = inputs[1].shape == first.shape
                    return first if same else first.new_empty(torch.broadcast_shapes(first.shape, inputs[1].shape))
                if isinstance(layer, MatMul) and layer.plain and min(first.ndim, inputs[1].ndim) > 1:
                    batch = torch.broadcast_shapes(first.shape[:-2], inputs[1].shape[:-2])
                    return first.new_empty((*batch, first.shape[-2], inputs[1].shape[-1]))
            if name_of(layer) == "linear" and isinstance(inputs[1], Tensor):
                return first.new_empty((*first.shape[:-1], inputs[1].shape[0]))
    try:
        return _on_meta(layer, inputs)
    except Exception:  # a layer may need numbers, or hold tensors of its own
        return stand_in(on_numbers(layer, inputs, torch.zeros))


def on_numbers(layer: nn.Module, inputs: Sequence[Any], numbers: Callable[..., Tensor]) -> Any:
    """What a layer gives for tensors of these numbers in place of the stand-ins."""
    weight = next(iter(layer.parameters()), None)
    device = torch.device("cpu") if weight is None or weight.is_meta else weight.device

    def real(tensor: Tensor) -> Tensor:
        return numbers(tensor.shape, dtype=tensor.dtype, device=device)

    layer = _stateless(layer)
    with torch.no_grad():
        return layer(*pytree.tree_map_only(Tensor, real, list(inputs)))


def _stateless(layer: nn.Module) -> nn.Module:
    """The layer, or a copy for one run of a layer with code of others, which may keep what it computes as its state."""
    pure = all(type(part).__module__.startswith(("torch.", "netlens.flat.")) for part in layer.modules())
    return layer if pure else throwaway(layer)


def _on_meta(layer: nn.Module, inputs: Sequence[Any]) -> Any:
    with torch.no_grad():
        if isinstance(layer, Function):
            return layer(*inputs)
        layer = _stateless(layer)
        weights = {name: tensor.to("meta") for name, tensor in (*layer.named_parameters(), *layer.named_buffers())}
        return functional_call(layer, weights, tuple(inputs)) if weights else layer(*inputs)


def _convolved(layer: nn.modules.conv._ConvNd, shape: torch.Size) -> tuple[int, ...] | None:
    """The shape that a convolution gives; None if it is not a plain one."""
    if layer.transposed or isinstance(layer.padding, str) or len(shape) != layer.weight.ndim:
        return None
    sides = zip(shape[2:], layer.kernel_size, layer.stride, layer.padding, layer.dilation, strict=True)
    return (shape[0], layer.out_channels, *((s + 2 * p - d * (k - 1) - 1) // step + 1 for s, k, step, p, d in sides))

"""A guard against wrong gradients: it runs some operations in memory layouts for which torch gives correct gradients.

On the CPU (torch 2.14.1), some norms read a gradient in the wrong order, without an error, if the strides of the
gradient differ from those of the norm's output. This holds for batch norms on maps or volumes in a batch of one, and
for instance norms on maps or volumes in any batch. A gradient with the strides of the output is always read correctly.
On GPUs (torch 2.11), the gradient of an average pool with overlapping windows is wrong on maps with channels last.
Layer, group and RMS norms, norms of rows and sequences, and all other tested layers are correct in every layout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

from netlens.flat.layers import Function
from netlens.flat.operations import innermost, is_foreign
from netlens.memo import Memo

_POOLS = frozenset((F.avg_pool2d,))
_NORMS = frozenset((F.batch_norm, F.instance_norm, torch.batch_norm, torch.instance_norm, torch.native_batch_norm))

T = TypeVar("T")


def guarded(run: Callable[..., T], *args: Any) -> T:
    """The result of `run(*args)`. In this call, guarded operations have correct gradients, at any depth.

    The guard does not see operations within TorchScript.
    """
    with _Guard():
        return run(*args)


class _Guard(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = {} if kwargs is None else dict(kwargs)
        if func in _POOLS:
            x, *other_args = args if args else (kwargs.pop("input"),)
            args = (x.contiguous() if x.is_cuda else x, *other_args)
        value = func(*args, **kwargs)
        if func in _NORMS:
            output = value[0] if isinstance(value, tuple) else value
            if output.requires_grad and output.ndim > 3:
                output.register_hook(partial(_with_strides, output.stride()))
        return value


def _with_strides(strides: tuple[int, ...], gradient: Tensor | None) -> Tensor | None:
    """The gradient in a tensor with these strides; None, which autograd takes as no change, if it has them already."""
    if gradient is None or gradient.stride() == strides:  # a gradient of zeros may be None
        return None
    return gradient.new_empty_strided(gradient.shape, strides).copy_(gradient)


def is_misread(layer: nn.Module) -> bool:
    """Whether a layer is an operation that needs the guard, or may call one (an opaque layer, the user's code)."""
    layer = innermost(layer)
    return _MISREAD.of(layer, None, lambda: _may_be_misread(layer))


_MISREAD: Memo[nn.Module, bool] = Memo()


def _may_be_misread(layer: nn.Module) -> bool:
    is_call = isinstance(layer, Function) and layer.function in _NORMS | _POOLS
    return is_call or any(
        isinstance(submodule, (_NormBase, nn.AvgPool2d)) or is_foreign(submodule) for submodule in layer.modules()
    )

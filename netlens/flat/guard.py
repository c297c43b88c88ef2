"""Operations whose gradient torch gets wrong in some memory layouts are run in those that it gets right.

On the CPU (torch 2.14.1), a norm reads some gradients that lie in memory otherwise than what it gave in the wrong
order, without a word: a batch norm on maps or volumes of a batch of one, and an instance norm on those of any batch. A
gradient with the strides of what the norm gave is read right, always; a contiguous one is not, where what the norm gave
lies otherwise. On GPUs (torch 2.11), an average pool whose windows overlap is wrong on maps with channels last. Layer,
group and RMS norm, norms of rows and sequences, and all other layers that were tried are right in every layout.
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
from netlens.flat.memo import Memo
from netlens.flat.operations import innermost, is_foreign

_POOLS = frozenset((F.avg_pool2d,))
_NORMS = frozenset((F.batch_norm, F.instance_norm, torch.batch_norm, torch.instance_norm, torch.native_batch_norm))

T = TypeVar("T")


def guarded(run: Callable[..., T], *args: Any) -> T:
    """What `run(*args)` gives, where each such operation in it, at any depth, will have a right gradient.

    Of what runs as TorchScript nothing is seen.
    """
    with _Guard():
        return run(*args)


class _Guard(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = {} if kwargs is None else dict(kwargs)
        if func in _POOLS:
            x, *others = args if args else (kwargs.pop("input"),)
            args = (x.contiguous() if x.is_cuda else x, *others)
        value = func(*args, **kwargs)
        if func in _NORMS:
            given = value[0] if isinstance(value, tuple) else value
            if given.requires_grad and given.ndim > 3:
                given.register_hook(partial(_laid_out, given.stride()))
        return value


def _laid_out(strides: tuple[int, ...], gradient: Tensor | None) -> Tensor | None:
    if gradient is None or gradient.stride() == strides:  # None: autograd's own word for all 0
        return None
    return gradient.new_empty_strided(gradient.shape, strides).copy_(gradient)


def is_misread(layer: nn.Module) -> bool:
    """Whether a layer is such an operation, or may call one: opaque parts and code of the user's own may."""
    layer = innermost(layer)
    return _MISREAD.of(layer, None, lambda: _may_be_misread(layer))


_MISREAD: Memo[nn.Module, bool] = Memo()


def _may_be_misread(layer: nn.Module) -> bool:
    called = isinstance(layer, Function) and layer.function in _NORMS | _POOLS
    parts = (isinstance(part, (_NormBase, nn.AvgPool2d)) or is_foreign(part) for part in layer.modules())
    return called or any(parts)

"""Norms: the gradient that reaches one lies in memory as what the norm gave, whatever comes after it.

torch (2.14.1, on the CPU) reads some gradients that lie otherwise in the wrong order, without a word: in a batch norm
on maps or volumes of a batch of one, and in an instance norm on those of any batch. A gradient with the strides of what
the norm gave is read right, always; a contiguous one is not, where what the norm gave lies otherwise. Layer, group and
RMS norm, norms of rows and sequences, and all other layers that were tried read every layout right.
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

from netlens.flat.foreign import is_foreign
from netlens.flat.layers import Function, Wrapper

_NORMS = frozenset((F.batch_norm, F.instance_norm, torch.batch_norm, torch.instance_norm, torch.native_batch_norm))

T = TypeVar("T")


def guarded(run: Callable[..., T], *args: Any) -> T:
    """What `run(*args)` gives, where each norm that is called in it, at any depth, will get its gradient rightly laid.

    Of what runs as TorchScript nothing is seen.
    """
    with _Guard():
        return run(*args)


class _Guard(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        value = func(*args, **({} if kwargs is None else kwargs))
        if func in _NORMS:
            given = value[0] if isinstance(value, tuple) else value
            if given.requires_grad and given.ndim > 3:
                given.register_hook(partial(_laid_out, given.stride()))
        return value


def _laid_out(strides: tuple[int, ...], gradient: Tensor | None) -> Tensor | None:
    if gradient is None or gradient.stride() == strides:  # None: autograd's own word for all 0
        return None
    return gradient.new_empty_strided(gradient.shape, strides).copy_(gradient)


def may_normalize(layer: nn.Module) -> bool:
    """Whether a layer is such a norm, or may call one: opaque parts and code of the user's own may."""
    while isinstance(layer, Wrapper):
        layer = layer.inner
    if isinstance(layer, Function) and layer.function in _NORMS:
        return True
    return any(isinstance(part, _NormBase) or is_foreign(part) for part in layer.modules())

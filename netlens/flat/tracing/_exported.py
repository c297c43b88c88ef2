"""Calls of torch's operator library, which `torch.export` leaves in place of torch's functions."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def usual(function: Any, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """The function of torch, and its arguments, for a call such as `torch.ops.aten.relu.default(x)`.

    A function that is none of the library, or has no counterpart of its name, stays as it is.
    """
    name = _name(function)
    if name == "slice":
        return _as_index(function, args)
    if name == "index":
        return operator.getitem, (args[0], tuple(slice(None) if index is None else index for index in args[1]))
    if name == "sym_size":
        return Tensor.size, args
    if name.endswith("_"):
        return getattr(Tensor, name, function), args
    return _named(name, function), args


def counterpart(function: Any) -> Callable[..., Any] | None:
    """The pure function for an in-place call of the library that torch has under no other name, such as `silu_`."""
    name = _name(function)
    return _named(name[:-1], None) if name.endswith("_") else None


def _name(function: Any) -> str:
    if not isinstance(function, torch._ops.OpOverload) or function.namespace != "aten":
        return ""
    return str(function._overloadpacket.__name__)


def _named(name: str, otherwise: Any) -> Any:
    functions = (getattr(owner, name) for owner in (F, torch, Tensor) if name and callable(getattr(owner, name, None)))
    # the norms of `torch.nn.functional` have another order of arguments
    return getattr(torch, name) if name in ("batch_norm", "instance_norm") else next(functions, otherwise)


def _as_index(function: Any, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """`x[:, start:end]` for `slice(x, 1, start, end)`."""
    rest: tuple[Any, ...] = (0, None, None, 1)
    x, dim, start, end, step = (*args, *rest[len(args) - 1 :])
    if not isinstance(dim, int) or dim < 0:
        return function, args
    end = None if isinstance(end, int) and end == 2**63 - 1 else end
    index: list[Any] = [slice(None)] * dim
    return operator.getitem, (x, (*index, slice(start, end, step)))

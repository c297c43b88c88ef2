"""Calls of torch that are recorded although torch itself does not ask traced arguments.

Torch hands a call to a traced value only where it expects a tensor. A traced number, type or device in another place is
an error of torch, or is overlooked.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, fx
from torch.amp import autocast_mode
from torch.utils import _pytree as pytree

_FACTORIES = (
    *("zeros", "ones", "empty", "full", "arange", "linspace", "logspace", "eye"),
    *("tensor", "as_tensor", "scalar_tensor", "rand", "randn", "randint", "randperm", "range"),
    *("tril_indices", "triu_indices", "broadcast_shapes"),
)
# methods of tensors that are not traced, such as constants
_METHODS = (
    *("to", "type", "expand", "view", "reshape", "repeat", "tile", "roll", "permute", "unflatten"),
    *("new_zeros", "new_ones", "new_empty", "new_full", "new_tensor"),
)
# they read the name of a device type, and set or tell a mode of the thread, which cannot be a layer
_ANSWERED = (
    (torch, "is_autocast_enabled"),
    (torch, "get_autocast_dtype"),
    (autocast_mode, "is_autocast_available"),
    (torch.amp, "is_autocast_available"),
    (torch.autocast, "__init__"),
)
_FINFO, _IINFO = torch.finfo, torch.iinfo


def finfo(dtype: torch.dtype) -> torch.finfo:
    return _FINFO(dtype)


def iinfo(dtype: torch.dtype) -> torch.iinfo:
    return _IINFO(dtype)


# functions of numbers and types, as they are recorded
_OF_TYPES = {"finfo": finfo, "iinfo": iinfo}


@contextmanager
def recorded_calls(silent: Callable[[], bool], content: Callable[[fx.Proxy], Any]) -> Iterator[None]:
    """Within the block, a call such as `torch.zeros(n)` becomes a node of the graph if n is a traced number or type.

    Args:
        silent: Whether calls are not recorded now.
        content: What a traced value is on the example, as an assumption.
    """

    def read(args: Any, kwargs: Any) -> bool:
        return not silent() and any(issubclass(type(leaf), fx.Proxy) for leaf in pytree.tree_leaves((args, kwargs)))

    def recorded(function: Callable[..., Any], target: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function, updated=())
        def call(*args: Any, **kwargs: Any) -> Any:
            return (
                fx.Proxy.__torch_function__(target, (), args, kwargs)
                if read(args, kwargs)
                else function(*args, **kwargs)
            )

        return call

    def answered(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function, updated=())
        def call(*args: Any, **kwargs: Any) -> Any:
            if read(args, kwargs):
                args, kwargs = pytree.tree_map_only(fx.Proxy, content, (args, kwargs))
            return function(*args, **kwargs)

        return call

    def refusing(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function, updated=())
        def call(*args: Any) -> Any:
            if read(args[2:], {}):
                raise TypeError("it writes a traced value into a tensor that is not traced")
            return function(*args)

        return call

    with ExitStack() as stack:
        for name in (*_FACTORIES, *_OF_TYPES):
            function = getattr(torch, name)
            _replace(stack, torch, name, recorded(function, _OF_TYPES.get(name, function)))
        for name in _METHODS:
            function = getattr(Tensor, name)
            _replace(stack, Tensor, name, recorded(function, function))
        for owner, name in _ANSWERED:
            _replace(stack, owner, name, answered(getattr(owner, name)))
        _replace(stack, Tensor, "__setitem__", refusing(Tensor.__setitem__))
        yield


def _replace(stack: ExitStack, owner: Any, name: str, function: Callable[..., Any]) -> None:
    """Set an attribute of a module or class until the stack closes. Afterwards the owner has what it had."""
    if name in vars(owner):
        stack.callback(setattr, owner, name, vars(owner)[name])
    else:
        stack.callback(delattr, owner, name)
    setattr(owner, name, function)

"""Functions with a backward of their own, which a trace must not take for the steps of their forward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import fx
from torch.autograd import Function
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import CheckpointFunction


@contextmanager
def plain_functions() -> Iterator[None]:
    """Within the block, `checkpoint` calls its function, and any other `autograd.Function` stops a trace."""
    original = vars(Function)["apply"]

    def apply(cls: type[Function], *args: Any, **kwargs: Any) -> Any:
        if not any(isinstance(leaf, fx.Proxy) for leaf in pytree.tree_leaves((args, kwargs))):
            return original.__get__(None, cls)(*args, **kwargs)
        if cls is CheckpointFunction:
            function, _keeps_random_numbers, *inputs = args
            return function(*inputs)
        raise TypeError(f"it calls {cls.__name__}, an autograd function with a backward of its own")

    Function.apply = classmethod(apply)
    try:
        yield
    finally:
        Function.apply = original

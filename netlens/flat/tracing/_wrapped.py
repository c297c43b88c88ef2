"""Functions that a library marks by `torch.fx.wrap`: a trace keeps those whole that can be one layer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree


@contextmanager
def whole_if_layers(is_no_layer: Callable[[Any, Any, Any], bool]) -> Iterator[None]:
    """Within the block, a marked function that is no layer is traced through, as if it had no mark.

    `torch.fx` makes one call of any marked function. A function that writes into its argument and returns nothing would
    then have no effect.
    """
    module: Any = torch.fx._symbolic_trace
    original = module._create_wrapped_func

    def create(function: Callable[..., Any]) -> Callable[..., Any]:
        whole = original(function)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            traced = any(isinstance(leaf, fx.Proxy) for leaf in pytree.tree_leaves((args, kwargs)))
            return (function if traced and is_no_layer(function, args, kwargs) else whole)(*args, **kwargs)

        return call

    module._create_wrapped_func = create
    try:
        yield
    finally:
        module._create_wrapped_func = original

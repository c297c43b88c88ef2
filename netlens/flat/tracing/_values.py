"""Traced values: they record what the code of a network does with them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree


class Value(fx.Proxy):
    """A traced tensor. Unlike a plain proxy, it records in-place operators, because functionalization needs them."""

    tracer: Any
    __array_priority__ = 1000  # as that of a tensor: a number of NumPy leaves an operator to the traced value

    def __getattr__(self, name: str) -> Any:
        if name.startswith(_OF_ARRAYS) or name in ("node", "tracer"):
            raise AttributeError(f"a traced value has no {name}")
        exists, example = self.tracer.example_of(self)
        # the network may catch the error of an example without such an attribute, or ask whether it is None
        if exists and not hasattr(type(example), name) and getattr(example, name) is None:
            return None
        return ValueAttribute(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("data", "grad", "requires_grad"):
            raise TypeError(f"it assigns the attribute `{name}` of a tensor")
        super().__setattr__(name, value)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, index, value), {})

    def __int__(self) -> int:
        return int(self.tracer.content(self))

    def __len__(self) -> int:
        count: int = self.tracer.count(self)
        return count

    def __index__(self) -> int:
        return operator.index(self.tracer.content(self))

    def __float__(self) -> float:
        return float(self.tracer.content(self))

    def __round__(self, digits: int | None = None) -> fx.Proxy:
        proxy: fx.Proxy = self.tracer.create_proxy("call_function", round, (self, digits), {})
        return proxy

    def __divmod__(self, other: Any) -> tuple[Any, Any]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Any, Any]:
        return other // self, other % self

    def __str__(self) -> str:
        """The name of a traced device or type, by which networks choose; for any other value, a text for messages."""
        exists, example = self.tracer.example_of(self)
        return str(self.tracer.content(self)) if exists and isinstance(example, _NAMED) else repr(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(self.tracer.content(self, _without_tensors), dtype)

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> fx.Proxy:
        for leaf in pytree.tree_leaves((args, kwargs)):
            if isinstance(leaf, Value):
                _without_tensors(self.tracer.example_of(leaf)[1])
        return fx.Proxy.__torch_function__(function, (), args, kwargs)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> fx.Proxy:
        # fx asks torch whether this is a method of tensors, for which torch lists all that it has, once per process
        is_method = getattr(Tensor, getattr(function, "__name__", ""), None) is function
        if is_method or not isinstance(function, (FunctionType, BuiltinFunctionType)):
            return super().__torch_function__(function, types, args, kwargs)
        tracer = next(leaf.tracer for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Value))
        name = tracer.graph._target_to_str(function.__name__)
        proxy: fx.Proxy = tracer.create_proxy("call_function", function, args, kwargs or {}, name=name)
        return proxy

    def __contains__(self, item: Any) -> bool:
        return any(bool(item == part) for part in self)

    def __hash__(self) -> int:
        number: int = self.tracer.hashed(self)
        return number


_OF_ARRAYS = ("__array_", "__cuda_array_", "__dlpack")
_NAMED = (torch.device, torch.dtype, str)


def _without_tensors(example: Any) -> Any:
    """The example, unless it is a tensor: the arrays that NumPy makes of tensors are not followed."""
    if isinstance(example, Tensor):
        raise TypeError("it hands a tensor to NumPy")
    return example


class ValueAttribute(fx.proxy.Attribute, Value):
    """An attribute of a traced tensor (`x.T`). A call shows that it is a method."""

    @property
    def node(self) -> fx.Node:  # type: ignore[override]
        try:
            node: fx.Node = super().node
        except AttributeError as error:  # Python would take it for a missing attribute `node`
            raise TypeError(str(error)) from error
        return node


class Weight(Value):
    """A traced parameter or buffer. Its shape consists of numbers, so control flow may depend on the shape."""

    def __init__(self, node: fx.Node, tracer: fx.Tracer, tensor: Tensor) -> None:
        super().__init__(node, tracer)
        self.shape = tensor.shape
        self.ndim = tensor.ndim
        self.dim = tensor.dim
        self.size = tensor.size
        self.numel = tensor.numel


def _in_place(name: str) -> Callable[[Value, Any], Any]:
    function = getattr(operator, name)
    return lambda self, other: self.tracer.create_proxy("call_function", function, (self, other), {})


for _name in ("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "iand", "ior", "ixor", "imatmul"):
    setattr(Value, f"__{_name}__", _in_place(_name))

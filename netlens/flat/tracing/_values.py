"""Traced values: they record what the code of a network does with them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx


class Value(fx.Proxy):
    """A traced tensor. Unlike a plain proxy, it records in-place operators, because functionalization needs them."""

    tracer: Any

    def __getattr__(self, name: str) -> ValueAttribute:
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

    def __contains__(self, item: Any) -> bool:
        return any(bool(item == part) for part in self)

    def __hash__(self) -> int:
        number: int = self.tracer.hashed(self)
        return number


class ValueAttribute(fx.proxy.Attribute, Value):
    """An attribute of a traced tensor (`x.T`). A call shows that it is a method."""


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

"""Pure modules for the calls of a network: of functions, and of modules with constants or keywords."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Slot:
    """A placeholder in the arguments of a call, which the input number `index` of the layer replaces."""

    index: int


def fill(template: Any, inputs: Sequence[Any]) -> Any:
    """The template in which an input replaces each `Slot`."""
    if isinstance(template, Slot):
        return inputs[template.index]
    if isinstance(template, (tuple, list)):
        return type(template)(fill(item, inputs) for item in template)
    if isinstance(template, dict):
        return {key: fill(item, inputs) for key, item in template.items()}
    if isinstance(template, slice):
        return slice(fill(template.start, inputs), fill(template.stop, inputs), fill(template.step, inputs))
    return template


class Piece(nn.Module):
    """Abstract: a pure layer that an adapter writes. A trace keeps it whole.

    Attributes:
        linear: Whether the layer is linear, up to a constant, in all its inputs together. Rules keep the true gradient
            of such a layer.
    """

    linear: bool = False


class Function(Piece):
    """Abstract: a layer that calls one pure function.

    Args:
        function: The function.
        args: The positional arguments of the call, with a `Slot` in place of each input.
        kwargs: The keyword arguments, likewise.
    """

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        super().__init__()
        self.function = function
        self.args = tuple(args)
        self.kwargs = dict(kwargs)
        self.plain = not kwargs and all(arg == Slot(i) for i, arg in enumerate(self.args))
        self.keeps_type = False

    def forward(self, *inputs: Any) -> Any:
        if self.plain:
            output = self.function(*inputs)
        else:
            output = self.function(*fill(self.args, inputs), **fill(self.kwargs, inputs))
        if self.keeps_type and isinstance(output, Tensor):  # `x += y` keeps the type of x; `x + y` may change it
            output = output.to(inputs[0].dtype)
        return output

    def extra_repr(self) -> str:
        arguments = [f"${arg.index}" if isinstance(arg, Slot) else repr(arg) for arg in self.args]
        arguments += [f"{key}={value!r}" for key, value in self.kwargs.items()]
        return f"{getattr(self.function, '__name__', self.function)}({', '.join(arguments)})"


class Add(Function):
    """`a + b`; one of the two may be a constant."""


class Subtract(Function):
    """`a - b`; one of the two may be a constant."""


class Clamp(nn.Hardtanh):
    """`torch.clamp` on both sides. Its gradient passes at the ends, unlike that of `nn.Hardtanh`."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.clamp(input, self.min_val, self.max_val)


class ClampFromZero(nn.ReLU):
    """`torch.clamp(min=0)`. Its gradient passes at zero, unlike that of `nn.ReLU`."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.clamp(input, min=0)


class Multiply(Function):
    """`a * b`; one of the two may be a constant."""


class Divide(Function):
    """`a / b`; one of the two may be a constant."""


class MatMul(Function):
    """A matrix product of two activations."""


class Concatenate(Function):
    """Tensors joined along an existing dimension."""


class Mean(Function):
    """A mean over dimensions."""


class Reshape(Function):
    """The same values in the same order, in another shape."""


class Permute(Function):
    """The same values, with the dimensions in another order."""


class Select(Function):
    """A part of a tensor, or one of several outputs, by index."""


class Apply(Function):
    """Any other pure function."""


class Constant(nn.Module):
    """A layer without inputs that gives a parameter or buffer, such as a class token."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        if isinstance(value, nn.Parameter):
            self.value = value
        else:
            self.register_buffer("value", value)

    def forward(self) -> Tensor:
        return self.value

    def extra_repr(self) -> str:
        return f"{tuple(self.value.shape)}"


class Wrapper(nn.Module, ABC):
    """Abstract: a layer that runs another layer, `inner`, and adds something. A search by type sees the inner layer."""

    @property
    @abstractmethod
    def inner(self) -> nn.Module:
        """The wrapped layer."""


class Call(Wrapper):
    """A module with the constants and keywords of its call.

    Args:
        module: The module to call.
        args: The positional arguments of the call, with a `Slot` in place of each input.
        kwargs: The keyword arguments, likewise.
    """

    def __init__(self, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        super().__init__()
        self.module = module
        self.args = tuple(args)
        self.kwargs = dict(kwargs)

    @property
    def inner(self) -> nn.Module:
        return self.module

    def forward(self, *inputs: Any) -> Any:
        return self.module(*fill(self.args, inputs), **fill(self.kwargs, inputs))

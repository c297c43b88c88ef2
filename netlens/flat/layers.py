"""Layers of a program that are not modules of the network: a pure module for each call of a function."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netlens.errors import TraceError
from netlens.flat.twin import throwaway


@dataclass(frozen=True)
class Slot:
    """A placeholder in the arguments of a call. The input number `index` of the layer replaces it."""

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


class Opaque(nn.Module):
    """A module that could not be unrolled.

    It runs on clones of its inputs, so that its in-place operations change no recorded activation. Each call runs a
    throwaway copy of the module, so that the buffers, counters and lists of the module never change.

    Args:
        module: The module to call.
        args: The positional arguments of the call, with a `Slot` in place of each input.
        kwargs: The keyword arguments, likewise.
        reason: The reason why the module could not be unrolled.
        read_later: The indices of the inputs that the network reads again after this layer. If the module changes such
            an input in place, the call raises `TraceError`, because later layers would read the unchanged value.
    """

    def __init__(
        self,
        module: nn.Module,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        reason: str,
        read_later: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.module = module
        self.args = tuple(args)
        self.kwargs = dict(kwargs)
        self.reason = reason
        self.read_later = tuple(read_later)

    def forward(self, *inputs: Any) -> Any:
        with torch.inference_mode(False):  # tensors made in inference mode have no version counter
            # a module that calls `view` needs contiguous inputs
            contiguous = torch.contiguous_format
            clones = [value.clone(memory_format=contiguous) if isinstance(value, Tensor) else value for value in inputs]
        tensors = [clones[i] for i in self.read_later if isinstance(clones[i], Tensor)]
        versions = [tensor._version for tensor in tensors]
        output = throwaway(self.module)(*fill(self.args, clones), **fill(self.kwargs, clones))
        if versions != [tensor._version for tensor in tensors]:
            raise TraceError(
                f"an opaque {type(self.module).__name__} changes its input in place, and the network reads that input "
                f"again afterwards. Let it work on a copy (x.clone()), or make it traceable: {self.reason}."
            )
        return output

    def extra_repr(self) -> str:
        return self.reason


class Scatter(nn.Module):
    """A copy of a base tensor (or of a tuple of tensors) in which the values of a view are replaced.

    An in-place operation on a view also changes the base of the view. This layer computes the new base as a pure
    function. If `view` makes a copy instead of a view, the base keeps its values. Inputs: the base, the new values of
    the view, then the other inputs of `view`.

    Args:
        view: The layer that makes the view.
    """

    def __init__(self, view: nn.Module) -> None:
        super().__init__()
        self.view = view

    def forward(self, base: Any, value: Any, *other_inputs: Any) -> Any:
        clone = base.clone() if isinstance(base, Tensor) else tuple(tensor.clone() for tensor in base)
        view = self.view(clone, *other_inputs)
        if isinstance(view, Tensor):
            view.copy_(value)
        else:
            for tensor, new_tensor in zip(view, value, strict=True):
                (_single_view(clone, tensor) if isinstance(clone, Tensor) else tensor).copy_(new_tensor)
        return clone


def _single_view(base: Tensor, view: Tensor) -> Tensor:
    """A new view of `base` on the same values as `view`, which is one of several views from one call.

    Autograd allows in-place operations on the new view, but not on one of several views from one call. If `view` is a
    copy and not a view, the result is a copy, too, so that a change of it does not change the base.
    """
    if not _storages(view) & _storages(base):
        return view.detach().clone()
    return base.as_strided(view.shape, view.stride(), view.storage_offset())


class Again(nn.Module):
    """A view that is taken again after its base has changed.

    Some operations (`reshape`, `contiguous`, `to`, indexing) make a view of some tensors and a copy of others. If it is
    a copy, the output is the earlier value. Inputs: the earlier value, then the inputs of `view`, the base first.

    Args:
        view: The layer that makes the view.
    """

    def __init__(self, view: nn.Module) -> None:
        super().__init__()
        self.view = view

    def forward(self, value: Any, base: Any, *other_inputs: Any) -> Any:
        view = self.view(base, *other_inputs)
        return view if _storages(view) & _storages(base) else value


def _storages(value: Any) -> set[int]:
    """The addresses of the storages of a tensor, or of all tensors in a tuple."""
    tensors = [value] if isinstance(value, Tensor) else [item for item in value if isinstance(item, Tensor)]
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}


class Normalize(nn.Module):
    """Normalize each channel: `(x - mean) / std`. With this layer as the first one, a network takes images in [0, 1].

    Maps (N, C, H, W) keep their shape.

    Args:
        mean: The mean of each of C channels.
        std: The standard deviation of each channel, above 0.

    Example:
        >>> Normalize((0.5,), (0.25,))(torch.ones(1, 1, 2, 2)).flatten().tolist()
        [2.0, 2.0, 2.0, 2.0]
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # Python's numbers have double precision, which a float64 network needs, and they work on every device
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.new_tensor(self.mean).view(-1, 1, 1)) / x.new_tensor(self.std).view(-1, 1, 1)

    def extra_repr(self) -> str:
        return f"mean={list(self.mean)}, std={list(self.std)}"

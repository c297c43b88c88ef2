"""The layers that a trace makes: pure modules for calls that were not modules."""

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
    """The place of a layer's i-th input in the arguments of the call that it makes."""

    index: int


def fill(template: Any, inputs: Sequence[Any]) -> Any:
    """The template with each `Slot` replaced by its input."""
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
    """Abstract: a pure layer that adapters write, which a trace keeps whole.

    `linear` says that it is linear, up to a constant, in all that it reads together, so that rules leave it alone.
    """

    linear: bool = False


class Function(Piece):
    """Abstract: a layer that calls one pure function of its inputs; the constants of the call are part of the layer."""

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
        if self.keeps_type and isinstance(output, Tensor):  # `x += y` leaves x of its type, where x + y might not
            output = output.to(inputs[0].dtype)
        return output

    def extra_repr(self) -> str:
        shown = [f"${arg.index}" if isinstance(arg, Slot) else repr(arg) for arg in self.args]
        shown += [f"{key}={value!r}" for key, value in self.kwargs.items()]
        return f"{getattr(self.function, '__name__', self.function)}({', '.join(shown)})"


class Add(Function):
    """`a + b`, also with a constant."""


class Subtract(Function):
    """`a - b`, also with a constant."""


class Clamp(nn.Hardtanh):
    """`torch.clamp` on both sides, whose gradient, other than a Hardtanh's, passes at the ends."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.clamp(input, self.min_val, self.max_val)


class ClampFromZero(nn.ReLU):
    """`torch.clamp(min=0)`, whose gradient, other than a ReLU's, passes at zero."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.clamp(input, min=0)


class Multiply(Function):
    """`a * b`, also with a constant."""


class Divide(Function):
    """`a / b`, also with a constant."""


class MatMul(Function):
    """A matrix product of two activations."""


class Concatenate(Function):
    """Tensors joined along an existing dimension."""


class Mean(Function):
    """A mean over dimensions."""


class Reshape(Function):
    """The same values in the same order under another shape."""


class Permute(Function):
    """The same values with their dimensions in another order."""


class Select(Function):
    """A part of a tensor, or one of several outputs, by index."""


class Apply(Function):
    """Any other pure function, called by its name in `function`."""


class Constant(nn.Module):
    """A parameter or buffer that the network uses directly, such as a class token; it has no inputs."""

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
    """Abstract: another layer, `inner`, run in another way; whoever asks for layers by type sees the inner one."""

    @property
    @abstractmethod
    def inner(self) -> nn.Module:
        """The layer that is wrapped."""


class Call(Wrapper):
    """A module that is called with more than plain positional inputs."""

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
    """A module that could not be unrolled; `reason` says why.

    It works on copies of its inputs, so that nothing it does in place reaches a recorded activation. `read_later` are
    the inputs that the network reads again afterwards: a change of one of these would be missed, so it is an error.
    What the module keeps (buffers, counters, lists) is read and never written: each call runs a throwaway copy.
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
        with torch.inference_mode(False):  # inference tensors count no versions
            # laid out as a module expects that asks for views
            as_usual = torch.contiguous_format
            copies = [value.clone(memory_format=as_usual) if isinstance(value, Tensor) else value for value in inputs]
        watched = [copies[i] for i in self.read_later if isinstance(copies[i], Tensor)]
        versions = [tensor._version for tensor in watched]
        output = throwaway(self.module)(*fill(self.args, copies), **fill(self.kwargs, copies))
        if versions != [tensor._version for tensor in watched]:
            raise TraceError(
                f"an opaque {type(self.module).__name__} changes its input in place, and the network reads that input "
                f"again afterwards. Let it work on a copy (x.clone()), or make it traceable: {self.reason}."
            )
        return output

    def extra_repr(self) -> str:
        return self.reason


class Scatter(nn.Module):
    """A base tensor (or tuple of them) in which the part seen through a view holds a new value.

    This is what an in-place operation on a view does to the tensor behind the view, written as a pure function; if
    `view` makes a copy, the base stays as it is. Inputs: the base, the new value, then what the view takes besides
    its base.
    """

    def __init__(self, view: nn.Module) -> None:
        super().__init__()
        self.view = view

    def forward(self, base: Any, value: Any, *others: Any) -> Any:
        copy = base.clone() if isinstance(base, Tensor) else tuple(part.clone() for part in base)
        seen = self.view(copy, *others)
        if isinstance(seen, Tensor):
            seen.copy_(value)
        else:
            for part, new in zip(seen, value, strict=True):
                (_alone(copy, part) if isinstance(copy, Tensor) else part).copy_(new)
        return copy


def _alone(base: Tensor, part: Tensor) -> Tensor:
    """One of several views that a call gives at once, as a view by itself: only there gradients pass what is written.

    A part that is a copy does not reach the base.
    """
    if not _memory(part) & _memory(base):
        return part.detach().clone()
    return base.as_strided(part.shape, part.stride(), part.storage_offset())


class Again(nn.Module):
    """A view taken anew after its base has changed.

    Some operations (`reshape`, `contiguous`, `to`, indexing) make a view of some inputs and a copy of others; where it
    is a copy, the change does not reach it. Inputs: the value so far, then what the view takes, its base first.
    """

    def __init__(self, view: nn.Module) -> None:
        super().__init__()
        self.view = view

    def forward(self, value: Any, base: Any, *others: Any) -> Any:
        seen = self.view(base, *others)
        return seen if _memory(seen) & _memory(base) else value


def _memory(value: Any) -> set[int]:
    """The addresses of the storages of a tensor, or of all tensors in a tuple."""
    tensors = [value] if isinstance(value, Tensor) else [part for part in value if isinstance(part, Tensor)]
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}


class Normalize(nn.Module):
    """`(x - mean) / std` per channel, so that a network takes images in [0, 1]. Shapes (N, C, H, W) to the same.

    >>> Normalize((0.5,), (0.25,))(torch.ones(1, 1, 2, 2)).flatten().tolist()
    [2.0, 2.0, 2.0, 2.0]
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # as Python's doubles: a float64 network is normalized by the numbers that were written, and no device refuses
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.new_tensor(self.mean).view(-1, 1, 1)) / x.new_tensor(self.std).view(-1, 1, 1)

    def extra_repr(self) -> str:
        return f"mean={list(self.mean)}, std={list(self.std)}"

"""Lifting: one operation has many spellings (function, method, operator, in place); all become one layer type."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from netlens.flat import layers
from netlens.flat.layers import Slot
from netlens.flat.tracing._exported import counterpart

Lifted = tuple[nn.Module, list[int]]


def lift(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], inputs: int) -> Lifted:
    """The layer for a call of a function, and the indices of the inputs that the layer reads, in order.

    If torch has a module for the call (`F.relu`, `torch.softmax`, `x.flatten(1)`), the layer is this module, so that
    rules and searches by type find the operation in every spelling. Otherwise, it is a `Function` layer.

    Args:
        function: The function.
        args: Its positional arguments, with a `Slot` in place of each input.
        kwargs: Its keyword arguments, likewise.
        inputs: The number of inputs.
    """
    module = _MODULES.get(function)
    if module is not None:
        try:
            module_, input_slot = module(*args, **kwargs)
        except TypeError:  # an argument is an input, so the module cannot store it
            pass
        else:
            if isinstance(input_slot, Slot) and inputs == 1:
                return module_.eval(), [input_slot.index]
    if function in _WITHOUT_CUDNN:
        function, args = _WITHOUT_CUDNN[function], args[:5]
        kwargs = {name: value for name, value in kwargs.items() if not name.startswith("cudnn_enable")}
    if function in _STATISTICS:
        args, kwargs = _without_statistics(function, args, kwargs)
    layer = _TYPES.get(function, layers.Apply)
    function = Named(_DISPATCHED[function]) if function in _DISPATCHED else function
    if function in _OF_ANY_STRIDES and not any(isinstance(arg, torch.dtype) for arg in (*args, *kwargs.values())):
        function = _OF_ANY_STRIDES[function]
    return layer(function, args, kwargs), list(range(inputs))


def pure(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """The pure counterpart of an in-place function or method; None if the function is pure itself."""
    name = getattr(function, "__name__", "")
    if function in _IN_PLACE:
        return _IN_PLACE[function]
    if not name.endswith("_") or name.endswith("__"):
        return counterpart(function)
    for owner in (Tensor, torch, F):
        if getattr(owner, name, None) is function:
            return getattr(owner, name[:-1], None) or OnCopy(name)
    return None


def reshapes(function: Callable[..., Any]) -> bool:
    """Whether an in-place method changes the shape or the strides of its tensor, but no values."""
    return function in _RESHAPES


class OnCopy:
    """A pure function for an in-place method without a pure counterpart: it applies the method to a copy."""

    def __init__(self, name: str) -> None:
        self.__name__ = name.rstrip("_")
        self.method = name

    def __call__(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        result: Tensor = getattr(tensor.clone(), self.method)(*args, **kwargs)
        return result


class Extreme:
    """The values of `max` or `min` along a dimension, without the indices, as `amax` and `amin` return them."""

    def __init__(self, name: str) -> None:
        self.__name__ = f"a{name}"
        self.name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        values: Tensor = getattr(torch, self.name)(*args, **kwargs).values
        return values


def values_alone(node: fx.Node, function: Callable[..., Any]) -> Extreme | None:
    """The function for a call of `max` or `min` along a dimension whose indices are not used; None for other calls."""
    dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    if function not in (torch.max, Tensor.max, torch.min, Tensor.min) or not isinstance(dim, int):
        return None
    selections = ((operator.getitem, 0), (getattr, "values"))
    # `values, _ = x.max(1)` also selects the indices, but uses only the values
    effective = [user for user in node.users if user.users or user.target is not operator.getitem]
    return (
        Extreme(function.__name__) if all((user.target, *user.args[1:]) in selections for user in effective) else None
    )


def without_inplace(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[bool, Any]:
    """Whether a call has the argument `inplace=True`, and its (args, kwargs) without this argument."""
    kwargs = dict(kwargs)
    if "inplace" in kwargs:
        return bool(kwargs.pop("inplace")), (tuple(args), kwargs)
    if inspect.isfunction(function) and function.__module__ == F.__name__:
        names = list(inspect.signature(function).parameters)
        index = names.index("inplace") if "inplace" in names else len(args)
        if index < len(args):
            return bool(args[index]), ((*args[:index], False, *args[index + 1 :]), kwargs)
    return False, (tuple(args), kwargs)


class Named:
    """A function of `torch.nn.functional`, by name. Some of these functions cannot be pickled, but this object can."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(F, self.__name__)(*args, **kwargs)


_DISPATCHED = {f: name for name, f in vars(F).items() if "<locals>" in getattr(f, "__qualname__", "")}


def _module(make: Callable[..., nn.Module]) -> Callable[..., tuple[nn.Module, Any]]:
    """A function that turns the arguments of a call into the module for the call, and returns the first argument, too.

    It raises `TypeError` if another argument is a `Slot`, because a module cannot store an input.
    """

    def build(input: Any, *args: Any, **kwargs: Any) -> tuple[nn.Module, Any]:
        if any(isinstance(value, Slot) for value in (*args, *kwargs.values())):
            raise TypeError
        return make(*args, **kwargs), input

    return build


def _plain(kind: Callable[[], nn.Module]) -> Callable[..., tuple[nn.Module, Any]]:
    return _module(lambda inplace=False: kind())


def _softmax(dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> nn.Module:
    if dim is None or dtype is not None:
        raise TypeError
    return nn.Softmax(dim)


def _log_softmax(dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> nn.Module:
    return nn.LogSoftmax(_softmax(dim, dtype=dtype).dim)  # type: ignore[arg-type]


def _dropout(p: float = 0.5, training: bool = False, inplace: bool = False) -> nn.Module:
    if training:
        raise TypeError
    return nn.Dropout(p)


def _max_pool(kind: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def make(
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> nn.Module:
        return kind(kernel_size, stride or None, padding, dilation, return_indices, ceil_mode)

    return make


def _clamp(min: float | None = None, max: float | None = None) -> nn.Module:
    """The layer of `clamp(min=0)`, or of a clamp with both bounds. At the bounds, gradients pass."""
    if min is None or (max is None and min != 0):
        raise TypeError
    return layers.ClampFromZero() if max is None else layers.Clamp(min, max)


def _flatten(start_dim: int = 0, end_dim: int = -1) -> nn.Module:
    return nn.Flatten(start_dim, end_dim)


_MODULES: dict[Any, Callable[..., tuple[nn.Module, Any]]] = {
    **dict.fromkeys((F.relu, torch.relu, Tensor.relu), _plain(nn.ReLU)),
    F.relu6: _plain(nn.ReLU6),
    F.silu: _plain(nn.SiLU),
    F.mish: _plain(nn.Mish),
    F.hardswish: _plain(nn.Hardswish),
    F.hardsigmoid: _plain(nn.Hardsigmoid),
    F.gelu: _module(lambda approximate="none": nn.GELU(approximate)),
    F.elu: _module(lambda alpha=1.0, inplace=False: nn.ELU(alpha)),
    F.leaky_relu: _module(lambda negative_slope=0.01, inplace=False: nn.LeakyReLU(negative_slope)),
    F.hardtanh: _module(lambda min_val=-1.0, max_val=1.0, inplace=False: nn.Hardtanh(min_val, max_val)),
    **dict.fromkeys((F.selu, torch.selu), _plain(nn.SELU)),
    **dict.fromkeys((F.celu, torch.celu), _module(lambda alpha=1.0, inplace=False: nn.CELU(alpha))),
    F.softplus: _module(lambda beta=1.0, threshold=20.0: nn.Softplus(beta, threshold)),
    F.threshold: _module(lambda threshold, value, inplace=False: nn.Threshold(threshold, value)),
    **dict.fromkeys((torch.clamp, Tensor.clamp, torch.clip, Tensor.clip), _module(_clamp)),
    **dict.fromkeys((torch.clamp_min, Tensor.clamp_min), _module(_clamp)),
    F.logsigmoid: _plain(nn.LogSigmoid),
    F.softsign: _plain(nn.Softsign),
    F.tanhshrink: _plain(nn.Tanhshrink),
    **dict.fromkeys((F.sigmoid, torch.sigmoid, Tensor.sigmoid, torch.special.expit), _plain(nn.Sigmoid)),
    **dict.fromkeys((F.tanh, torch.tanh, Tensor.tanh), _plain(nn.Tanh)),
    **dict.fromkeys((F.softmax, torch.softmax, Tensor.softmax), _module(_softmax)),
    **dict.fromkeys((F.log_softmax, torch.log_softmax, Tensor.log_softmax), _module(_log_softmax)),
    F.dropout: _module(_dropout),
    F.dropout2d: _module(_dropout),
    **dict.fromkeys((torch.flatten, Tensor.flatten), _module(_flatten)),
    F.max_pool2d: _module(_max_pool(nn.MaxPool2d)),
    torch.max_pool2d: _module(_max_pool(nn.MaxPool2d)),
    F.max_pool1d: _module(_max_pool(nn.MaxPool1d)),
    F.max_pool3d: _module(_max_pool(nn.MaxPool3d)),
    F.avg_pool2d: _module(nn.AvgPool2d),
    F.adaptive_avg_pool2d: _module(nn.AdaptiveAvgPool2d),
    F.adaptive_max_pool2d: _module(nn.AdaptiveMaxPool2d),
}

# functions without the last argument of torch's function (cudnn), which changes only the speed
_WITHOUT_CUDNN: dict[Any, Callable[..., Any]] = {torch.layer_norm: F.layer_norm, torch.group_norm: F.group_norm}

# the argument that makes a norm use the statistics of the batch; the running statistics are then updated, but not used
_STATISTICS: dict[Any, str] = {F.batch_norm: "training", F.instance_norm: "use_input_stats"}


def _without_statistics(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """The arguments of a norm.

    If the norm uses the statistics of the batch, the running statistics are left out, because the norm would only
    update them.
    """
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    if bound.arguments[_STATISTICS[function]] is not True:
        return args, kwargs
    bound.arguments |= {"running_mean": None, "running_var": None}
    return bound.args, bound.kwargs


# in a flat model, tensors may have other strides than in the original network, so that a view may be impossible
_OF_ANY_STRIDES: dict[Any, Callable[..., Any]] = {Tensor.view: Tensor.reshape, Tensor.view_as: Tensor.reshape_as}

_TYPES: dict[Any, type[layers.Function]] = {
    **dict.fromkeys((operator.add, torch.add, Tensor.add), layers.Add),
    **dict.fromkeys((operator.sub, torch.sub, Tensor.sub, torch.subtract), layers.Subtract),
    **dict.fromkeys((operator.mul, torch.mul, Tensor.mul, torch.multiply), layers.Multiply),
    **dict.fromkeys((operator.truediv, torch.div, Tensor.div, torch.divide), layers.Divide),
    **dict.fromkeys((operator.matmul, torch.matmul, Tensor.matmul, torch.bmm, Tensor.bmm), layers.MatMul),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), layers.Concatenate),
    **dict.fromkeys((torch.mean, Tensor.mean), layers.Mean),
    **dict.fromkeys(
        (Tensor.view, Tensor.reshape, torch.reshape, Tensor.squeeze, torch.squeeze, Tensor.unsqueeze, torch.unsqueeze),
        layers.Reshape,
    ),
    **dict.fromkeys((Tensor.permute, torch.permute, Tensor.transpose, torch.transpose, Tensor.t), layers.Permute),
    **dict.fromkeys((operator.getitem, torch.select, Tensor.select, torch.narrow, Tensor.narrow), layers.Select),
}


class SetItem:
    """`tensor[index] = value` as a pure function that can be pickled."""

    __name__ = "setitem"

    def __call__(self, tensor: Tensor, index: Any, value: Any) -> Tensor:
        clone = tensor.clone()
        clone[index] = value
        return clone


_IN_PLACE: dict[Any, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    operator.ifloordiv: operator.floordiv,
    operator.imod: operator.mod,
    operator.ipow: operator.pow,
    operator.iand: operator.and_,
    operator.ior: operator.or_,
    operator.ixor: operator.xor,
    operator.imatmul: operator.matmul,
    operator.setitem: SetItem(),
}

_RESHAPES = {
    *(Tensor.t_, Tensor.transpose_, Tensor.swapaxes_, Tensor.swapdims_, Tensor.squeeze_, Tensor.unsqueeze_),
    *(Tensor.as_strided_, Tensor.detach_),
}

"""What operations do to the dimension of the samples: rules from the states of what an operation reads to its state.

The rules are cautious: a call that they do not expect, or that depends on the number of samples, gives any value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import conv, padding
from torch.nn.modules.batchnorm import _BatchNorm

from netlens.flat import layers
from netlens.flat.layers import Function, LogSumExp, OfUnitSize, Standardized, fill
from netlens.flat.operations import Trait, has_known_forward, innermost, is_ours, name_of, operation_of


@dataclass(frozen=True)
class Rows:
    """A tensor of `ndim` dimensions with the samples first, one row each. A row depends on its sample alone."""

    ndim: int


@dataclass(frozen=True)
class Parts:
    """A tuple of tensors of `ndim` dimensions. Each is like `Rows`: the samples come first, one row for each sample."""

    ndim: int


@dataclass(frozen=True)
class Same:
    """A value that is the same for all samples and for any number of them: a weight, a size of an image.

    `shape` is that of a tensor, () for a number, and None for anything else.
    """

    shape: tuple[int, ...] | None


class Other(Enum):
    """A value that is neither `Rows`, `Parts` nor `Same`."""

    COUNT = "the number of samples"
    UNKNOWN = "any value"


# a tuple stands for the shape of a tensor, or for a part of a shape
State = Rows | Parts | Same | Other | tuple[Any, ...]
_NUMBER, _COUNT, _UNKNOWN = Same(()), Other.COUNT, Other.UNKNOWN


def over_batch(layer: nn.Module) -> bool:
    """Whether a layer is a norm over the batch, because it has no running statistics."""
    inner: Any = innermost(layer)
    return isinstance(inner, _BatchNorm) and inner.running_mean is None


def state_after(layer: nn.Module, reads: Sequence[State]) -> State:
    """The state of the value of a layer, from the states of the values that the layer reads."""
    layer = innermost(layer)
    if isinstance(layer, layers.Constant):
        return Same(tuple(layer.value.shape))
    if isinstance(layer, Function):
        return _of_function(layer, reads) if is_ours(layer.function) else _UNKNOWN
    if len(reads) != 1 or not isinstance(reads[0], Rows) or not has_known_forward(layer):
        return _UNKNOWN
    return _of_module(layer, reads[0].ndim)


def _of_module(layer: Any, ndim: int) -> State:
    """The state of the output of a module that reads rows of `ndim` dimensions."""
    for types, rule in _MODULES.items():
        if isinstance(layer, types):
            return rule(layer, ndim)
    if ndim == 1 or over_batch(layer) or not operation_of(layer).has(Trait.BY_SAMPLE):
        return _UNKNOWN
    return Parts(ndim) if getattr(layer, "return_indices", False) else Rows(ndim)


def _of_function(layer: Function, reads: Sequence[State]) -> State:
    """The state of the value of a function. Its arguments are states and constants."""
    args, kwargs = fill(layer.args, reads), fill(layer.kwargs, reads)
    name = name_of(layer)
    if name in _FUNCTIONS:
        try:
            return _FUNCTIONS[name](*args, **kwargs)
        except (TypeError, IndexError):  # the call has arguments that the rule does not expect
            return _UNKNOWN
    if any(isinstance(argument, tuple | list) for argument in args):  # `+` joins shapes
        return args[0] + args[1] if name == "add" and all(isinstance(part, tuple) for part in args) else _UNKNOWN
    # a leaky rectifier with a random slope may draw numbers
    if operation_of(layer).has(Trait.ELEMENTWISE | Trait.MEETS) and name != "rrelu":
        return _broadcast([*_leaves(args), *_leaves(kwargs)])
    return _NUMBER if name in _OF_NUMBERS and _are_same(args) and _are_same(kwargs) else _UNKNOWN


# functions from numbers to a number, beside the elementwise functions of the table of operations
_OF_NUMBERS = {"int", "float", "min", "max"}


def _broadcast(values: Sequence[Any]) -> State:
    """The state of the value of an elementwise operation."""
    values = [Same(tuple(value.shape)) if isinstance(value, Tensor) else value for value in values]
    states = [value for value in values if isinstance(value, Rows | Parts | Same | Other)]
    shapes = [state.shape for state in states if isinstance(state, Same)]
    dims = {state.ndim for state in states if isinstance(state, Rows)}
    if any(not isinstance(state, Rows | Same) for state in states) or None in shapes or len(dims) > 1:
        return _UNKNOWN
    if not dims:
        try:
            return Same(tuple(torch.broadcast_shapes(*shapes)))
        except RuntimeError:
            return _UNKNOWN
    (ndim,) = dims
    # a weight with several rows would broadcast along the samples; one of more dimensions would come before them
    meets = any(len(shape) > ndim or (len(shape) == ndim and shape[0] != 1) for shape in shapes if shape is not None)
    return _UNKNOWN if meets else Rows(ndim)


def _leaves(value: Any) -> Iterator[Any]:
    """The leaves of arguments in tuples, lists, dicts and slices."""
    if isinstance(value, tuple | list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, Mapping):
        yield from _leaves(list(value.values()))
    elif isinstance(value, slice):
        yield from _leaves([value.start, value.stop, value.step])
    else:
        yield value


def _are_same(value: Any) -> bool:
    """Whether arguments are the same for all samples and any number of them, and hold no tensor."""
    return not any(
        isinstance(leaf, Rows | Parts | Other | Tensor) or (isinstance(leaf, Same) and leaf.shape not in ((), None))
        for leaf in _leaves(value)
    )


def _dim(dim: Any, ndim: int) -> int:
    """A dimension, counted from the first. Anything else counts as 0, the dimension of the samples."""
    return dim % ndim if isinstance(dim, int) and -ndim <= dim < ndim else 0


def _along(ndim: int, dims: Any) -> State:
    """Rows of `ndim` dimensions after an operation along `dims`: unknown if one is the dimension of the samples."""
    dims = dims if isinstance(dims, tuple | list) else (dims,)
    return Rows(ndim) if dims and all(_dim(dim, ndim) > 0 for dim in dims) else _UNKNOWN


def _copied(x: Any, *args: Any, **kwargs: Any) -> State:
    """The state of a copy of a value, perhaps in another type."""
    return x if isinstance(x, Rows) and _are_same(args) and _are_same(kwargs) else _UNKNOWN


def _reduced(x: Any, dim: Any = None, keepdim: Any = False, dtype: Any = None) -> State:
    if not isinstance(x, Rows) or _along(x.ndim, dim) is _UNKNOWN:
        return _UNKNOWN
    count = len({_dim(each, x.ndim) for each in dim}) if isinstance(dim, tuple | list) else 1
    return x if keepdim is True else Rows(x.ndim - count)


def _reshaped(x: Any, *shape: Any) -> State:
    """The state after a reshape to the number of samples, and then to sizes that do not depend on that number."""
    sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    if not isinstance(x, Rows) or not sizes or sizes[0] is not _COUNT or not _are_same(sizes[1:]):
        return _UNKNOWN
    return Rows(len(sizes))


def _unsqueezed(x: Any, dim: Any) -> State:
    return Rows(x.ndim + 1) if isinstance(x, Rows) and _dim(dim, x.ndim + 1) > 0 else _UNKNOWN


def _permuted(x: Any, *dims: Any) -> State:
    order = dims[0] if len(dims) == 1 and isinstance(dims[0], tuple | list) else dims
    return x if isinstance(x, Rows) and len(order) == x.ndim and order[0] in (0, -x.ndim) else _UNKNOWN


def _transposed(x: Any, dim0: Any, dim1: Any) -> State:
    return _along(x.ndim, (dim0, dim1)) if isinstance(x, Rows) else _UNKNOWN


def _flattened(x: Any, start_dim: Any = 0, end_dim: Any = -1) -> State:
    if not isinstance(x, Rows) or _along(x.ndim, (start_dim, end_dim)) is _UNKNOWN:
        return _UNKNOWN
    return Rows(x.ndim - _dim(end_dim, x.ndim) + _dim(start_dim, x.ndim))


def _unflattened(x: Any, dim: Any, sizes: Any) -> State:
    if not isinstance(x, Rows) or _dim(dim, x.ndim) == 0 or not isinstance(sizes, tuple | list) or not _are_same(sizes):
        return _UNKNOWN
    return Rows(x.ndim + len(sizes) - 1)


def _item(x: Any, index: Any) -> State:
    """The state of `x[index]`."""
    if isinstance(x, Parts):
        return Rows(x.ndim) if isinstance(index, int) else x if isinstance(index, slice) else _UNKNOWN
    if isinstance(x, tuple):
        return x[index] if not any(isinstance(leaf, Same) for leaf in _leaves(index)) else _UNKNOWN
    if not isinstance(x, Rows) or not isinstance(index, tuple) or not index or index[0] != slice(None):
        return _UNKNOWN
    ndim = x.ndim
    for part in index[1:]:
        if part == _NUMBER or (isinstance(part, int) and not isinstance(part, bool)):
            ndim -= 1
        elif part is None:
            ndim += 1
        elif not isinstance(part, slice) or not _are_same(part):
            return _UNKNOWN
    return Rows(ndim)


def _selected(x: Any, dim: Any, index: Any) -> State:
    return Rows(x.ndim - 1) if isinstance(x, Rows) and _dim(dim, x.ndim) > 0 and _are_same(index) else _UNKNOWN


def _cut(x: Any, sizes: Any, dim: Any = 0) -> State:
    """The state of the parts of `x` after `chunk` or `split`. Unknown if the samples themselves are divided."""
    return Parts(x.ndim) if isinstance(x, Rows) and _dim(dim, x.ndim) > 0 and _are_same(sizes) else _UNKNOWN


def _concatenated(tensors: Any, dim: Any = 0) -> State:
    if isinstance(tensors, Parts):
        return _along(tensors.ndim, dim)
    if not isinstance(tensors, tuple | list) or not all(isinstance(part, Rows) for part in tensors):
        return _UNKNOWN
    dims = {part.ndim for part in tensors}
    return _along(dims.pop(), dim) if len(dims) == 1 else _UNKNOWN


def _expanded(x: Any, *sizes: Any) -> State:
    """The state of a weight of one row that is repeated for each sample."""
    sizes = tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else sizes
    if not isinstance(x, Same) or not x.shape or x.shape[0] != 1 or len(sizes) != len(x.shape):
        return _UNKNOWN
    return Rows(len(sizes)) if sizes[0] is _COUNT and _are_same(sizes[1:]) else _UNKNOWN


def _multiplied(x: Any, y: Any) -> State:
    """The state of a product of each sample with a matrix of its own, or with one matrix for all samples."""
    if isinstance(x, Rows) and isinstance(y, Rows) and x.ndim == y.ndim > 2:
        return x
    return x if isinstance(x, Rows) and x.ndim > 1 and isinstance(y, Same) and len(y.shape or ()) == 2 else _UNKNOWN


def _attended(query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: Any = 0.0, **others: Any) -> State:
    alike = isinstance(query, Rows) and query.ndim > 2 and query == key == value
    return query if alike and attn_mask is None and dropout_p == 0 and _are_same(others) else _UNKNOWN


def _resized(x: Any, *args: Any, **kwargs: Any) -> State:
    return _copied(x, *args, **kwargs) if isinstance(x, Rows) and x.ndim > 2 else _UNKNOWN


def _padded(x: Any, pad: Any, mode: Any = "constant", value: Any = None) -> State:
    inner = isinstance(x, Rows) and isinstance(pad, tuple | list) and len(pad) // 2 < x.ndim
    return _copied(x, pad, value) if inner else _UNKNOWN


def _normalized(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: Any = 1e-5) -> State:
    if not isinstance(x, Rows) or not isinstance(normalized_shape, tuple | list) or not _are_same(normalized_shape):
        return _UNKNOWN
    weights = all(part is None or isinstance(part, Same) for part in (weight, bias))
    return x if weights and len(normalized_shape) < x.ndim else _UNKNOWN


def _of_unit_norm(x: Any, p: Any = 2.0, dim: Any = 1, eps: Any = 1e-12) -> State:
    return _along(x.ndim, dim) if isinstance(x, Rows) else _UNKNOWN


def _size(x: Any, dim: Any = None) -> State:
    if not isinstance(x, Rows):
        return _UNKNOWN
    sizes = (_COUNT, *[_NUMBER] * (x.ndim - 1))
    return sizes if dim is None else _item(sizes, dim)


def _attribute(x: Any, name: Any) -> State:
    if name == "shape":
        return _size(x)
    return Same(None) if isinstance(x, Rows) and name in ("device", "dtype", "ndim") else _UNKNOWN


_FUNCTIONS: dict[str, Callable[..., State]] = {
    **dict.fromkeys(("contiguous", "clone", "detach", "to", "float", "double", "half", "bfloat16"), _copied),
    **dict.fromkeys(("mean", "sum", "amax", "amin"), _reduced),
    **dict.fromkeys(("view", "reshape"), _reshaped),
    **dict.fromkeys(("chunk", "split", "tensor_split"), _cut),
    **dict.fromkeys(("cat", "concat", "concatenate"), _concatenated),
    **dict.fromkeys(("matmul", "bmm"), _multiplied),
    **dict.fromkeys(("interpolate", "upsample"), _resized),
    "unsqueeze": _unsqueezed,
    "permute": _permuted,
    "transpose": _transposed,
    "flatten": _flattened,
    "unflatten": _unflattened,
    "getitem": _item,
    "select": _selected,
    "expand": _expanded,
    "pad": _padded,
    "layer_norm": _normalized,
    "normalize": _of_unit_norm,
    "scaled_dot_product_attention": _attended,
    "size": _size,
    "getattr": _attribute,
}
"""The rules of functions by name: from the arguments of a call, with states in place of values, to a state."""

_MODULES: dict[Any, Callable[[Any, int], State]] = {
    layers.Part: lambda layer, ndim: Rows(len(layer.shape) + 1) if ndim == 2 else _UNKNOWN,
    nn.Flatten: lambda layer, ndim: _flattened(Rows(ndim), layer.start_dim, layer.end_dim),
    nn.Unflatten: lambda layer, ndim: _unflattened(Rows(ndim), layer.dim, layer.unflattened_size),
    (nn.Softmax, nn.LogSoftmax): lambda layer, ndim: _along(ndim, layer.dim),
    nn.LayerNorm: lambda layer, ndim: _normalized(Rows(ndim), layer.normalized_shape),
    nn.InstanceNorm2d: lambda layer, ndim: Rows(ndim) if ndim == 4 else _UNKNOWN,
    (Standardized, OfUnitSize): lambda layer, ndim: _along(ndim, layer.dims),
    LogSumExp: lambda layer, ndim: _reduced(Rows(ndim), layer.dim, layer.keepdim),
    layers.Normalize: lambda layer, ndim: Rows(ndim) if ndim > 3 else _UNKNOWN,
    padding._ConstantPadNd: lambda layer, ndim: _padded(Rows(ndim), layer.padding),
    (padding._ReflectionPadNd, padding._ReplicationPadNd): lambda layer, ndim: _padded(Rows(ndim), layer.padding),
    (nn.ChannelShuffle, nn.PixelShuffle, nn.PixelUnshuffle): lambda layer, ndim: Rows(ndim) if ndim > 3 else _UNKNOWN,
    conv._ConvNd: lambda layer, ndim: Rows(ndim) if ndim == layer.weight.ndim else _UNKNOWN,
}
"""The rules of modules: from the module and the dimensions of the rows that it reads to a state."""

"""Operations: one table of the properties of module types and functions.

A row lists module types and functions that do the same to values, and their properties. Rules, receptive fields,
incremental occlusion and class activation maps call `operation_of`. One line adds your own operation:

>>> class Swoosh(nn.Module):
...     def forward(self, x):
...         return x * torch.sigmoid(1.5 * x)
>>> add(Swoosh, like=nn.SiLU)
>>> operation_of(Swoosh()).curve.name
'UNIT'
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
import torchvision
from torch import nn

from netlens.errors import NetLensError
from netlens.flat import layers
from netlens.flat.layers import Function, Opaque, Wrapper
from netlens.flat.memo import forget_all
from netlens.flat.traits import NO_TRAITS, Curve, Operation, Reach, Relevance, Trait
from netlens.flat.written import LogSumExp, OfUnitSize, Standardized

UNKNOWN = Operation()
"""The row of an operation that the table does not list."""

_ROWS: list[Operation] = []
_BY_TYPE: dict[type[nn.Module], Operation] = {}
_BY_NAME: dict[str, Operation] = {}
_ADDED: dict[str, Operation] = {}
_LIKE: dict[type[nn.Module], type[nn.Module]] = {}
_VIEW_ATTRIBUTES = {"T", "mT", "H", "mH", "data", "real", "imag"}
_PACKAGES = ("torch", "torchvision", "_operator", "operator", "builtins", "math", "netlens")


def innermost(layer: nn.Module) -> nn.Module:
    """The layer without its wrappers (see `Wrapper`)."""
    while isinstance(layer, Wrapper):
        layer = layer.inner
    return layer


def name_of(layer: nn.Module) -> str:
    """The name of the function that a layer calls. It is empty for a module: the table lists modules by type."""
    return getattr(layer.function, "__name__", "") if isinstance(layer, Function) else ""


def operation_of(layer: nn.Module) -> Operation:
    """The row of a layer without its wrappers; `UNKNOWN` if the table has no row for it.

    A user's function may have the same name as a function of torch. So it has a row only if the user calls `add`.
    """
    inner = innermost(layer)
    if isinstance(inner, Function):
        name = name_of(inner)
        row = _ADDED.get(name, _BY_NAME.get(name) if is_ours(inner.function) else None)
        if row is not None:
            return row
    for kind in type(inner).__mro__:
        if kind in _BY_TYPE:
            return _BY_TYPE[kind]
    return UNKNOWN


def exact_operation_of(layer: nn.Module) -> Operation:
    """The row of the layer's exact type; `UNKNOWN` if only a base class has a row, or if the layer is a wrapper."""
    row = _BY_TYPE.get(type(layer), UNKNOWN)
    return row if type(layer) in row.types else UNKNOWN


def is_ours(function_or_type: Any) -> bool:
    """Whether a function or a type belongs to Python, torch, torchvision or netlens, so that its code is known."""
    module = getattr(function_or_type, "__module__", None) or "torch"  # methods of tensors have no module
    return module.split(".")[0] in _PACKAGES


def is_foreign(layer: nn.Module) -> bool:
    """Whether a layer, without its wrappers, is opaque or a user's module or function."""
    inner = innermost(layer)
    if isinstance(inner, Opaque):
        return True
    return not is_ours(inner.function if isinstance(inner, Function) else type(inner))


def has_known_forward(layer: nn.Module) -> bool:
    """Whether the row of a layer is right: its forward is that of torch or netlens, or `add` listed its type."""
    inner = innermost(layer)
    if isinstance(inner, Function):
        return operation_of(inner) is not UNKNOWN
    definer = next(kind for kind in type(inner).__mro__ if kind in _LIKE or "forward" in vars(kind))
    return definer in _LIKE or is_ours(definer)


def is_kind(layer: nn.Module, kinds: type[nn.Module] | tuple[type[nn.Module], ...]) -> bool:
    """Whether a layer without its wrappers has one of these types, or `add` listed its type as like one of them."""
    inner = innermost(layer)
    return isinstance(inner, kinds) or issubclass(_LIKE.get(type(inner), type(inner)), kinds)


def is_added(kind: type[nn.Module]) -> bool:
    """Whether `add` listed this type."""
    return kind in _LIKE


def types_with(traits: Trait) -> tuple[type[nn.Module], ...]:
    """All module types that have one of these traits."""
    return tuple(kind for row in _ROWS if row.has(traits) for kind in row.types)


def add(operation: type[nn.Module] | str, like: type[nn.Module] | str) -> None:
    """Add your own operation to the table, with the row of a similar operation.

    A module of this type then stays one layer. DeepLIFT, relevance propagation, receptive fields, guided
    backpropagation and incremental occlusion treat it as they treat `like`. So it must have the properties of `like`.
    For example, if `like` is an elementwise activation function, each output must depend on one input value only.

    Args:
        operation: Your module type, or the name of your function.
        like: A module type or a function name that has a row.

    Raises:
        NetLensError: `like` has no row, or `operation` is neither a module type nor a name.

    Example:
        >>> add("swoosh", like="silu")
    """
    row = _BY_NAME.get(like) if isinstance(like, str) else _BY_TYPE.get(like)
    if row is None:
        name = like if isinstance(like, str) else like.__name__
        raise NetLensError(
            f"like={name!r} is not in the table of operations; give a module type or the name of a function of torch."
        )
    if not isinstance(operation, str) and not (isinstance(operation, type) and issubclass(operation, nn.Module)):
        raise NetLensError(f"an operation must be a module type or the name of a function, not {operation!r}.")
    forget_all()
    if isinstance(operation, str):
        _ADDED[operation] = row
        return
    _BY_TYPE[operation] = row
    _LIKE[operation] = like if isinstance(like, type) else next(iter(row.types), operation)


def is_view(layer: nn.Module) -> bool:
    """Whether the output of a layer may share memory with its first input, as in the original network."""
    if isinstance(layer, Function) and layer.function is getattr:
        return layer.args[1] in _VIEW_ATTRIBUTES
    return not isinstance(layer, Wrapper) and operation_of(layer).has(Trait.VIEW)


def is_linear(layer: nn.Module) -> bool:
    """Whether a layer is linear, up to a constant, in all its inputs together, so that its gradient is constant."""
    inner = innermost(layer)
    if isinstance(inner, layers.Piece) and inner.linear:  # the adapter that writes the piece says so
        return True
    # a norm that divides by recorded statistics is linear, too
    return operation_of(inner).has(Trait.LINEAR) or getattr(inner, "running_mean", None) is not None


def is_product(layer: nn.Module) -> bool:
    """Whether a layer is linear in each of its input tensors while the others are constant."""
    return operation_of(layer).has(Trait.MULTILINEAR)


def _row(
    types: tuple[type[nn.Module], ...] | type[nn.Module] = (),
    names: str = "",
    traits: Trait = NO_TRAITS,
    reach: Reach = Reach.UNKNOWN,
    curve: Curve | None = None,
    relevance: Relevance = Relevance.MIXES,
    in_place: Callable[..., Any] | None = None,
) -> None:
    types = types if isinstance(types, tuple) else (types,)
    row = Operation(types, tuple(names.split()), traits, reach, curve, relevance, in_place)
    for key in (*row.types, *row.names):
        table: dict[Any, Operation] = _BY_NAME if isinstance(key, str) else _BY_TYPE
        assert key not in table, f"{key} has two rows"
        table[key] = row
    _ROWS.append(row)


_conv, _pool, _pad, _drop = nn.modules.conv, nn.modules.pooling, nn.modules.padding, nn.modules.dropout
_batch, _instance = nn.modules.batchnorm, nn.modules.instancenorm
_T, _C, _R, _AT = Trait, Curve, Relevance, Reach.POINT
_EACH = _T.ELEMENTWISE | _T.BY_SAMPLE
_RECTIFIES = _EACH | _T.RECTIFIER
_AVERAGE = _T.LINEAR | _T.POSITIVE
_MOVE = _T.LINEAR | _T.MOVES
_RESHAPE = _MOVE | _T.HOMOGENEOUS | _T.VIEW

# activation functions
_row(nn.ReLU, "relu", _RECTIFIES | _T.MORTAL | _T.HOMOGENEOUS | _T.INVERTIBLE, _AT, _C.COPY, _R.PASSES, F.relu)
_row(nn.ReLU6, "relu6", _RECTIFIES | _T.MORTAL | _T.INVERTIBLE, _AT, _C.COPY, _R.PASSES, F.relu6)
_row((nn.Hardtanh, nn.Threshold), "hardtanh threshold", _RECTIFIES | _T.MORTAL, _AT, _C.COPY, _R.PASSES)
_row(nn.LeakyReLU, "leaky_relu", _RECTIFIES | _T.HOMOGENEOUS, _AT, _C.SCALED, _R.PASSES)
_row(nn.RReLU, "rrelu", _RECTIFIES, _AT, _C.SCALED, _R.PASSES)
_row(nn.PReLU, "prelu", _RECTIFIES | _T.HOMOGENEOUS | _T.PER_CHANNEL, _AT, _C.SCALED, _R.PASSES)
_row((nn.ELU, nn.CELU, nn.SELU), "elu celu selu", _RECTIFIES, _AT, _C.SCALED, _R.PASSES)
_row((nn.Softplus, nn.GELU, nn.Mish), "softplus gelu mish", _RECTIFIES, _AT, _C.UNIT, _R.PASSES)
_row(nn.SiLU, "silu", _RECTIFIES, _AT, _C.UNIT, _R.PASSES, F.silu)
_row(nn.Hardswish, "hardswish", _RECTIFIES | _T.MORTAL, _AT, _C.KINKED, _R.PASSES, F.hardswish)
_row(nn.Sigmoid, "sigmoid", _EACH, _AT, _C.UNIT, _R.SQUASHES)
_row(nn.Hardsigmoid, "hardsigmoid", _EACH | _T.MORTAL, _AT, _C.KINKED, _R.SQUASHES)
_row(
    (nn.Tanh, nn.Softsign, nn.LogSigmoid, nn.Tanhshrink),
    "tanh softsign logsigmoid tanhshrink",
    _EACH,
    _AT,
    _C.UNIT,
    _R.PASSES,
)
_row(nn.Softshrink, "softshrink", _EACH, _AT, _C.KINKED, _R.PASSES)
_row(nn.Hardshrink, "hardshrink", _EACH, _AT, _C.COPY, _R.PASSES)

# functions of each value
_row((), "clamp clip clamp_min clamp_max", _EACH, _AT, _C.COPY, _R.PASSES)
_row((), "abs sqrt rsqrt log log2 log10 pow square reciprocal", _EACH, _AT, _C.SCALED, _R.PASSES)
_row((), "erf log1p", _EACH, _AT, _C.UNIT, _R.PASSES)
_row((), "sin cos", _EACH, _AT, _C.UNIT)
_row((), "exp expm1", _EACH, _AT, relevance=_R.PASSES)
_row((), "round floor ceil trunc fix frac fmod remainder mod floor_divide floordiv", _EACH, _AT, _C.COPY)
_row((), "sign sgn", _EACH | _T.STEPS, _AT, _C.COPY)
_row((), "exp2 erfc sinh cosh tan atan asinh atanh logit nan_to_num", _EACH, _AT)
_row((), "neg negative", _EACH | _T.LINEAR, _AT)
_row((), "heaviside", _T.STEPS)

# operations that return their input in eval mode
_row(
    (nn.Identity, nn.Dropout, nn.Dropout2d, torchvision.ops.StochasticDepth),
    "",
    _EACH | _T.LINEAR | _T.KEEPS | _T.HOMOGENEOUS | _T.VIEW,
    _AT,
    relevance=_R.ARRANGES,
)
# a dropout that is called as a function remains in a program only if it also drops values in eval mode
_row((), "dropout dropout2d stochastic_depth", _T.LINEAR, relevance=_R.ARRANGES)
_row(_drop._DropoutNd, "alpha_dropout", _EACH | _T.LINEAR | _T.KEEPS | _T.VIEW, _AT, relevance=_R.ARRANGES)
_row((), "contiguous to type_as", _T.LINEAR | _T.KEEPS | _T.VIEW | _T.MOVES, _AT, relevance=_R.ARRANGES)
_row((), "clone", _T.LINEAR | _T.MOVES, _AT, relevance=_R.ARRANGES)
_row((), "type float double half bfloat16", _T.LINEAR | _T.VIEW, _AT, relevance=_R.ARRANGES)
_row((), "detach", _T.VIEW, relevance=_R.COPIES)

# operations that move values
_row(layers.Reshape, "view reshape squeeze unsqueeze", _RESHAPE, _AT, relevance=_R.ARRANGES)
_row(layers.Permute, "permute transpose t", _RESHAPE, _AT, relevance=_R.ARRANGES)
_row(layers.Select, "getitem select narrow", _RESHAPE, _AT, relevance=_R.ARRANGES)
_row(nn.Flatten, "flatten", _RESHAPE, Reach.WHOLE, relevance=_R.ARRANGES)
_row(nn.Unflatten, "unflatten", _MOVE | _T.VIEW, _AT, relevance=_R.ARRANGES)
_row((), "chunk", _MOVE | _T.VIEW, _AT, relevance=_R.ARRANGES)
_row((), "expand", _MOVE | _T.VIEW, _AT, relevance=_R.ARRANGES)
_row(
    (),
    "split tensor_split unbind hsplit vsplit dsplit view_as reshape_as ravel swapaxes swapdims movedim moveaxis "
    "expand_as broadcast_to getattr diagonal unfold broadcast_tensors atleast_1d atleast_2d atleast_3d adjoint "
    "as_strided",
    _MOVE | _T.VIEW,
    relevance=_R.ARRANGES,
)
_row(
    (),
    "repeat repeat_interleave tile flip roll rot90 index_select gather take_along_dim stack hstack "
    "vstack dstack pixel_shuffle pixel_unshuffle",
    _MOVE,
    relevance=_R.ARRANGES,
)
_row((), "tril triu setitem", _T.LINEAR, relevance=_R.ARRANGES)
_row((nn.PixelShuffle, nn.PixelUnshuffle), "", _MOVE, relevance=_R.ARRANGES)
_row(nn.ChannelShuffle, "channel_shuffle", _MOVE, _AT, relevance=_R.ARRANGES)
_row(layers.Concatenate, "cat concat concatenate", _MOVE | _T.HOMOGENEOUS, _AT, relevance=_R.ARRANGES)
_row((layers.Scatter, layers.Again), "", _T.LINEAR, relevance=_R.ARRANGES)
_row((nn.ZeroPad2d, nn.ReflectionPad2d), "", _T.LINEAR | _T.HOMOGENEOUS, _AT, relevance=_R.ARRANGES)
_row(
    (_pad._ConstantPadNd, _pad._ReflectionPadNd, _pad._ReplicationPadNd),
    "pad _patch_merging_pad",
    _T.LINEAR,
    _AT,
    relevance=_R.ARRANGES,
)
_row(_pad._CircularPadNd, "", _T.LINEAR)
_row((), "real imag", _T.LINEAR | _T.VIEW, relevance=_R.ARRANGES)
_row((), "view_as_real view_as_complex", _T.LINEAR | _T.VIEW, relevance=_R.ARRANGES)

# operations that choose values
_row((), "masked_fill where maximum minimum", relevance=_R.ARRANGES)
_row((), "amax amin msort", relevance=_R.ARRANGES)
_row((), "max min median", _T.INDICES_ALONG, relevance=_R.ARRANGES)
_row((), "nanmedian", _T.INDICES_ALONG)
_row((), "sort topk kthvalue mode cummax cummin", _T.INDICES, relevance=_R.ARRANGES)
_row((nn.MaxPool2d,), "", _T.HOMOGENEOUS | _T.BY_SAMPLE, Reach.WINDOW, relevance=_R.ARRANGES)
_row(_pool._MaxPoolNd, "max_pool1d max_pool2d max_pool3d", relevance=_R.ARRANGES)
_row(nn.AdaptiveMaxPool2d, "", _T.HOMOGENEOUS | _T.BY_SAMPLE, Reach.WHOLE, relevance=_R.ARRANGES)
_row(_pool._AdaptiveMaxPoolNd, "adaptive_max_pool1d adaptive_max_pool3d", relevance=_R.ARRANGES)

# arithmetic
_MEETING = _T.MEETS | _T.BY_SAMPLE
_row(layers.Add, "add", _MEETING | _T.LINEAR | _T.POSITIVE | _T.HOMOGENEOUS | _T.FRESH, _AT)
_row(layers.Subtract, "sub subtract", _MEETING | _T.LINEAR, _AT)
_row((), "rsub", _T.LINEAR, _AT)
_row(layers.Multiply, "mul multiply __mul__", _MEETING | _T.MULTILINEAR, _AT, relevance=_R.MULTIPLIES)
_row(layers.Divide, "truediv div divide true_divide", _MEETING, _AT, relevance=_R.DIVIDES)
_row((), "complex", _T.LINEAR)

# sums and products
_row(layers.Mean, "mean", _AVERAGE | _T.HOMOGENEOUS, Reach.WHOLE)
_row((), "sum cumsum", _AVERAGE)
_row((), "nansum nanmean trace", _T.POSITIVE)
_row(layers.MatMul, "matmul bmm", _T.MULTILINEAR, Reach.WHOLE, relevance=_R.CONTRACTS)
_row((), "einsum mm mv dot tensordot", _T.MULTILINEAR, relevance=_R.CONTRACTS)
_row((), "inner", relevance=_R.CONTRACTS)
_row(
    (), "outer linear bilinear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d", _T.MULTILINEAR
)
_row(LogSumExp, "logsumexp")
_row((), "scaled_dot_product_attention", relevance=_R.ATTENDS)
_row(nn.Linear, "", _T.LINEAR | _T.FRESH | _T.BY_SAMPLE, Reach.ROW)
_row(nn.Conv2d, "", _T.LINEAR | _T.FRESH | _T.BY_SAMPLE, Reach.WINDOW)
_row((nn.Conv1d, nn.Conv3d, nn.ConvTranspose2d), "", _T.LINEAR | _T.BY_SAMPLE)
_row(_conv._ConvNd, "", _T.LINEAR)

# pools that average, and resizing
_row(nn.AvgPool2d, "", _AVERAGE | _T.HOMOGENEOUS | _T.BY_SAMPLE, Reach.WINDOW)
_row(nn.AdaptiveAvgPool2d, "", _AVERAGE | _T.HOMOGENEOUS | _T.BY_SAMPLE, Reach.WHOLE)
_row(
    (_pool._AvgPoolNd, _pool._AdaptiveAvgPoolNd),
    "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d",
    _AVERAGE,
)
_row(nn.Upsample, "", _T.LINEAR | _T.HOMOGENEOUS | _T.BY_SAMPLE)
_row((), "interpolate upsample", _T.LINEAR)
_row((nn.Fold,), "fold", _AVERAGE)
_row(nn.Unfold, "", _T.LINEAR)

# norms and softmaxes
_row((nn.BatchNorm2d,), "", _T.NORM | _T.PER_CHANNEL | _T.FRESH | _T.BY_SAMPLE, _AT)
_row(_batch._BatchNorm, "", _T.NORM | _T.BY_SAMPLE)
_row(torchvision.ops.FrozenBatchNorm2d, "", _T.NORM | _T.PER_CHANNEL | _T.LINEAR | _T.BY_SAMPLE, _AT)
_row((), "batch_norm", _T.NORM | _T.PER_CHANNEL)
_row(layers.Normalize, "", _T.PER_CHANNEL | _T.LINEAR, _AT, relevance=_R.PASSES)
_row((nn.LayerNorm,), "layer_norm", _T.NORM, _AT, relevance=_R.CENTERS)
_row(nn.GroupNorm, "group_norm", _T.NORM | _T.BY_SAMPLE, Reach.WHOLE, relevance=_R.CENTERS)
_row((nn.InstanceNorm2d,), "", _T.NORM, Reach.WHOLE, relevance=_R.CENTERS)
_row((nn.InstanceNorm1d, nn.InstanceNorm3d), "instance_norm", _T.NORM, relevance=_R.CENTERS)
_row(Standardized, "", _T.NORM, _AT, relevance=_R.CENTERS)
_row(OfUnitSize, "", _T.NORM, _AT, relevance=_R.PASSES)
_row(nn.RMSNorm, "rms_norm", _T.NORM, relevance=_R.PASSES)
_row((nn.LocalResponseNorm, nn.CrossMapLRN2d), "local_response_norm", _T.NORM, relevance=_R.PASSES)
_row((), "normalize", _T.NORM, _AT, relevance=_R.PASSES)
_row((nn.Softmax, nn.Softmax2d), "softmax", _T.SOFTMAX, relevance=_R.SOFTMAX)
_row(nn.LogSoftmax, "log_softmax", relevance=_R.PASSES)

# operations whose outputs are no real numbers that follow from the input
_row(
    (),
    "eq ne lt le gt ge equal greater greater_equal less less_equal not_equal isnan isinf isfinite isclose isposinf "
    "isneginf logical_and logical_or logical_not logical_xor argmax argmin argsort nonzero argwhere one_hot bucketize "
    "searchsorted multinomial bincount count_nonzero any all signbit",
    _T.DISCRETE,
)
_row((), "bool int long", _T.DISCRETE | _T.VIEW, relevance=_R.ARRANGES)
_row((), "short byte char", _T.DISCRETE)
_row(
    (),
    "zeros_like ones_like full_like empty_like rand_like randn_like randint_like new_zeros new_ones new_full new_empty "
    "new_tensor new_empty_strided new",
    _T.CONSTANT,
)
_row((), "item tolist", _T.NUMBER)
_row((), "cpu cuda", _T.VIEW, relevance=_R.ARRANGES)
_row(layers.Constant, "", _T.LINEAR)

# transforms of complex numbers
_row((), "conj conj_physical resolve_conj resolve_neg", _T.LINEAR)
_row(
    (),
    "fft_fft fft_ifft fft_rfft fft_irfft fft_hfft fft_ihfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_fftn fft_ifftn "
    "fft_rfftn fft_irfftn fft_fftshift fft_ifftshift",
    _T.LINEAR,
)

RECTIFIERS: tuple[type[nn.Module], ...] = types_with(Trait.RECTIFIER)
"""The activation functions that let large values pass. Guided backpropagation and similar methods change them."""

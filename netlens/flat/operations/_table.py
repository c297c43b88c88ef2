"""The table of operations: a row says what module types and functions that are alike do to values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
import torchvision
from torch import nn

from netlens.flat import layers
from netlens.flat.layers import LogSumExp, OfUnitSize, Standardized
from netlens.flat.operations._traits import NO_TRAITS, Curve, Operation, Reach, Relevance, Trait

UNKNOWN = Operation()
"""The row of an operation that the table does not list."""

ROWS: list[Operation] = []
BY_TYPE: dict[type[nn.Module], Operation] = {}
BY_NAME: dict[str, Operation] = {}


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
        table: dict[Any, Operation] = BY_NAME if isinstance(key, str) else BY_TYPE
        assert key not in table, f"{key} has two rows"
        table[key] = row
    ROWS.append(row)


_conv, _pool, _pad, _drop = nn.modules.conv, nn.modules.pooling, nn.modules.padding, nn.modules.dropout
_batch, _instance = nn.modules.batchnorm, nn.modules.instancenorm
_EACH = Trait.ELEMENTWISE | Trait.BY_SAMPLE
_RECTIFIES = _EACH | Trait.RECTIFIER
_AVERAGE = Trait.LINEAR | Trait.POSITIVE
_MAPS = Trait.CHANNELS_FIRST | Trait.BY_PLACE
_CONVOLVES = _MAPS | Trait.LINEAR | Trait.WEIGHS
_POOLED = _MAPS | Trait.POOLS
_RESIZED = _MAPS | Trait.RESIZES
_MOVE = Trait.LINEAR | Trait.MOVES
_PADDED = Trait.LINEAR | Trait.FILLS | Trait.PADS
_RESHAPE = _MOVE | Trait.HOMOGENEOUS | Trait.VIEW

# activation functions
_row(
    nn.ReLU,
    "relu",
    _RECTIFIES | Trait.MORTAL | Trait.HOMOGENEOUS | Trait.INVERTIBLE | Trait.NONNEGATIVE,
    Reach.POINT,
    Curve.COPY,
    Relevance.PASSES,
    F.relu,
)
_row(
    nn.ReLU6,
    "relu6",
    _RECTIFIES | Trait.MORTAL | Trait.INVERTIBLE | Trait.NONNEGATIVE,
    Reach.POINT,
    Curve.COPY,
    Relevance.PASSES,
    F.relu6,
)
_row(
    (nn.Hardtanh, nn.Threshold),
    "hardtanh threshold",
    _RECTIFIES | Trait.MORTAL,
    Reach.POINT,
    Curve.COPY,
    Relevance.PASSES,
)
_row(nn.LeakyReLU, "leaky_relu", _RECTIFIES | Trait.HOMOGENEOUS, Reach.POINT, Curve.SCALED, Relevance.PASSES)
_row(nn.RReLU, "rrelu", _RECTIFIES, Reach.POINT, Curve.SCALED, Relevance.PASSES)
_row(nn.PReLU, "prelu", _RECTIFIES | Trait.HOMOGENEOUS | Trait.PER_CHANNEL, Reach.POINT, Curve.SCALED, Relevance.PASSES)
_row((nn.ELU, nn.CELU, nn.SELU), "elu celu selu", _RECTIFIES, Reach.POINT, Curve.SCALED, Relevance.PASSES)
_row(nn.Softplus, "softplus", _RECTIFIES | Trait.NONNEGATIVE, Reach.POINT, Curve.UNIT, Relevance.PASSES)
_row((nn.GELU, nn.Mish), "gelu mish", _RECTIFIES, Reach.POINT, Curve.UNIT, Relevance.PASSES)
_row(nn.SiLU, "silu", _RECTIFIES, Reach.POINT, Curve.UNIT, Relevance.PASSES, F.silu)
_row(nn.Hardswish, "hardswish", _RECTIFIES | Trait.MORTAL, Reach.POINT, Curve.KINKED, Relevance.PASSES, F.hardswish)
_row(nn.Sigmoid, "sigmoid", _EACH, Reach.POINT, Curve.UNIT, Relevance.SQUASHES)
_row(nn.Hardsigmoid, "hardsigmoid", _EACH | Trait.MORTAL, Reach.POINT, Curve.KINKED, Relevance.SQUASHES)
_row(
    (nn.Tanh, nn.Softsign, nn.LogSigmoid, nn.Tanhshrink),
    "tanh softsign logsigmoid tanhshrink",
    _EACH,
    Reach.POINT,
    Curve.UNIT,
    Relevance.PASSES,
)
_row(nn.Softshrink, "softshrink", _EACH, Reach.POINT, Curve.KINKED, Relevance.PASSES)
_row(nn.Hardshrink, "hardshrink", _EACH, Reach.POINT, Curve.COPY, Relevance.PASSES)

# functions of each value
_row((), "clamp clip clamp_min clamp_max", _EACH, Reach.POINT, Curve.COPY, Relevance.PASSES)
_row((), "abs sqrt rsqrt log log2 log10 pow square reciprocal", _EACH, Reach.POINT, Curve.SCALED, Relevance.PASSES)
_row((), "erf log1p", _EACH, Reach.POINT, Curve.UNIT, Relevance.PASSES)
_row((), "sin cos", _EACH, Reach.POINT, Curve.UNIT)
_row((), "exp expm1", _EACH, Reach.POINT, relevance=Relevance.PASSES)
_row((), "round floor ceil trunc fix frac fmod remainder mod floor_divide floordiv", _EACH, Reach.POINT, Curve.COPY)
_row((), "sign sgn", _EACH | Trait.STEPS, Reach.POINT, Curve.COPY)
_row((), "exp2 erfc sinh cosh tan atan asinh atanh logit nan_to_num", _EACH, Reach.POINT)
_row((), "neg negative", _EACH | Trait.LINEAR, Reach.POINT)
_row((), "heaviside", Trait.STEPS)

# operations that return their input in eval mode
_row(
    (nn.Identity, nn.Dropout, nn.Dropout2d, torchvision.ops.StochasticDepth),
    "",
    _EACH | Trait.LINEAR | Trait.KEEPS | Trait.HOMOGENEOUS | Trait.VIEW,
    Reach.POINT,
    relevance=Relevance.ARRANGES,
)
# a dropout that is called as a function remains in a program only if it also drops values in eval mode
_row((), "dropout dropout2d stochastic_depth", Trait.LINEAR, relevance=Relevance.ARRANGES)
_row(
    _drop._DropoutNd,
    "alpha_dropout",
    _EACH | Trait.LINEAR | Trait.KEEPS | Trait.VIEW,
    Reach.POINT,
    relevance=Relevance.ARRANGES,
)
_row(
    (),
    "contiguous to type_as",
    Trait.LINEAR | Trait.KEEPS | Trait.VIEW | Trait.MOVES | Trait.CASTS,
    Reach.POINT,
    relevance=Relevance.ARRANGES,
)
_row((), "clone", Trait.LINEAR | Trait.MOVES | Trait.CASTS, Reach.POINT, relevance=Relevance.ARRANGES)
_row(
    (),
    "type float double half bfloat16",
    Trait.LINEAR | Trait.VIEW | Trait.CASTS,
    Reach.POINT,
    relevance=Relevance.ARRANGES,
)
_row((), "detach", Trait.VIEW, relevance=Relevance.COPIES)

# operations that move values
_row(layers.Reshape, "view reshape squeeze unsqueeze", _RESHAPE, Reach.POINT, relevance=Relevance.ARRANGES)
_row(layers.Permute, "permute transpose t", _RESHAPE, Reach.POINT, relevance=Relevance.ARRANGES)
_row(layers.Part, "", _MOVE | Trait.HOMOGENEOUS, Reach.POINT, relevance=Relevance.ARRANGES)
_row(layers.Select, "getitem select narrow", _RESHAPE, Reach.POINT, relevance=Relevance.ARRANGES)
_row(nn.Flatten, "flatten", _RESHAPE, Reach.WHOLE, relevance=Relevance.ARRANGES)
_row(nn.Unflatten, "unflatten", _MOVE | Trait.VIEW, Reach.POINT, relevance=Relevance.ARRANGES)
_row((), "chunk", _MOVE | Trait.VIEW, Reach.POINT, relevance=Relevance.ARRANGES)
_row((), "expand", _MOVE | Trait.VIEW, Reach.POINT, relevance=Relevance.ARRANGES)
_row(
    (),
    "split tensor_split unbind hsplit vsplit dsplit view_as reshape_as ravel swapaxes swapdims movedim moveaxis "
    "expand_as broadcast_to getattr diagonal unfold broadcast_tensors atleast_1d atleast_2d atleast_3d adjoint "
    "as_strided",
    _MOVE | Trait.VIEW,
    relevance=Relevance.ARRANGES,
)
_row(
    (),
    "repeat repeat_interleave tile flip roll rot90 index_select gather take_along_dim hstack vstack dstack",
    _MOVE,
    relevance=Relevance.ARRANGES,
)
_row((), "stack", _MOVE | Trait.JOINS, relevance=Relevance.ARRANGES)
_row((), "tril triu setitem", Trait.LINEAR | Trait.FILLS, relevance=Relevance.ARRANGES)
_row((nn.PixelShuffle, nn.PixelUnshuffle), "pixel_shuffle pixel_unshuffle", _MOVE | _MAPS, relevance=Relevance.ARRANGES)
_row(nn.ChannelShuffle, "channel_shuffle", _MOVE, Reach.POINT, relevance=Relevance.ARRANGES)
_row(
    layers.Concatenate,
    "cat concat concatenate",
    _MOVE | Trait.HOMOGENEOUS | Trait.JOINS,
    Reach.POINT,
    relevance=Relevance.ARRANGES,
)
_row((layers.Scatter, layers.Again), "", Trait.LINEAR | Trait.FILLS, relevance=Relevance.ARRANGES)
_row((nn.ZeroPad2d, nn.ReflectionPad2d), "", _PADDED | Trait.HOMOGENEOUS, Reach.POINT, relevance=Relevance.ARRANGES)
_row(
    (_pad._ConstantPadNd, _pad._ReflectionPadNd, _pad._ReplicationPadNd),
    "pad _patch_merging_pad",
    _PADDED,
    Reach.POINT,
    relevance=Relevance.ARRANGES,
)
_row(_pad._CircularPadNd, "", _PADDED)
_row((), "real imag", Trait.LINEAR | Trait.VIEW, relevance=Relevance.ARRANGES)
_row((), "view_as_real view_as_complex", Trait.LINEAR | Trait.VIEW, relevance=Relevance.ARRANGES)

# operations that choose values
_row((), "masked_fill where maximum minimum", relevance=Relevance.ARRANGES)
_row((), "amax amin", Trait.REDUCES, relevance=Relevance.ARRANGES)
_row((), "msort", relevance=Relevance.ARRANGES)
_row((), "max min median", Trait.INDICES_ALONG | Trait.REDUCES, relevance=Relevance.ARRANGES)
_row((), "nanmedian", Trait.INDICES_ALONG | Trait.REDUCES)
_row((), "sort topk kthvalue mode cummax cummin", Trait.INDICES, relevance=Relevance.ARRANGES)
_row((nn.MaxPool2d,), "", _POOLED | Trait.HOMOGENEOUS | Trait.BY_SAMPLE, Reach.WINDOW, relevance=Relevance.ARRANGES)
_row(_pool._MaxPoolNd, "max_pool1d max_pool2d max_pool3d", _POOLED, relevance=Relevance.ARRANGES)
_row(nn.AdaptiveMaxPool2d, "", _POOLED | Trait.HOMOGENEOUS | Trait.BY_SAMPLE, Reach.WHOLE, relevance=Relevance.ARRANGES)
_row(
    _pool._AdaptiveMaxPoolNd,
    "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d",
    _POOLED,
    relevance=Relevance.ARRANGES,
)

# arithmetic
_MEETING = Trait.MEETS | Trait.BY_SAMPLE
_row(layers.Add, "add", _MEETING | Trait.LINEAR | Trait.POSITIVE | Trait.HOMOGENEOUS | Trait.FRESH, Reach.POINT)
_row(layers.Subtract, "sub subtract", _MEETING | Trait.LINEAR, Reach.POINT)
_row((), "rsub", Trait.LINEAR, Reach.POINT)
_row(layers.Multiply, "mul multiply __mul__", _MEETING | Trait.MULTILINEAR, Reach.POINT, relevance=Relevance.MULTIPLIES)
_row(layers.Divide, "truediv div divide true_divide", _MEETING, Reach.POINT, relevance=Relevance.DIVIDES)
_row((), "complex", Trait.LINEAR)

# sums and products
_row(layers.Mean, "mean", _AVERAGE | Trait.REDUCES | Trait.HOMOGENEOUS, Reach.WHOLE)
_row((), "sum", _AVERAGE | Trait.REDUCES)
_row((), "cumsum", _AVERAGE)
_row((), "nansum nanmean", Trait.POSITIVE | Trait.REDUCES)
_row((), "trace", Trait.POSITIVE)
_row((), "var std norm prod", Trait.REDUCES)
_row(layers.MatMul, "matmul bmm", Trait.MULTILINEAR | Trait.MATRIX_PRODUCT, Reach.WHOLE, relevance=Relevance.CONTRACTS)
_row((), "mm", Trait.MULTILINEAR | Trait.MATRIX_PRODUCT, relevance=Relevance.CONTRACTS)
_row((), "einsum mv dot tensordot", Trait.MULTILINEAR, relevance=Relevance.CONTRACTS)
_row((), "inner", relevance=Relevance.CONTRACTS)
_row((), "outer bilinear", Trait.MULTILINEAR)
_row((), "linear", Trait.MULTILINEAR | Trait.WEIGHS | Trait.CHANNELS_LAST)
_row(
    (),
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d",
    Trait.MULTILINEAR | Trait.WEIGHS | _MAPS,
)
_row(LogSumExp, "logsumexp", Trait.REDUCES)
_row((), "scaled_dot_product_attention", relevance=Relevance.ATTENDS)
_row(nn.Linear, "", Trait.LINEAR | Trait.WEIGHS | Trait.CHANNELS_LAST | Trait.FRESH | Trait.BY_SAMPLE, Reach.ROW)
_row(nn.Conv2d, "", _CONVOLVES | Trait.FRESH | Trait.BY_SAMPLE, Reach.WINDOW)
_row((nn.Conv1d, nn.Conv3d, nn.ConvTranspose2d), "", _CONVOLVES | Trait.BY_SAMPLE)
_row(_conv._ConvNd, "", _CONVOLVES)

# pools that average, and resizing
_row(nn.AvgPool2d, "", _POOLED | _AVERAGE | Trait.HOMOGENEOUS | Trait.BY_SAMPLE, Reach.WINDOW)
_row(nn.AdaptiveAvgPool2d, "", _POOLED | _AVERAGE | Trait.HOMOGENEOUS | Trait.BY_SAMPLE, Reach.WHOLE)
_row(
    (_pool._AvgPoolNd, _pool._AdaptiveAvgPoolNd),
    "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d",
    _POOLED | _AVERAGE,
)
_row(_pool._LPPoolNd, "lp_pool1d lp_pool2d lp_pool3d", _POOLED)
_row(nn.Upsample, "", _RESIZED | Trait.LINEAR | Trait.HOMOGENEOUS | Trait.BY_SAMPLE)
_row((), "interpolate upsample", _RESIZED | Trait.LINEAR)
_row((), "grid_sample", _RESIZED)
_row((nn.Fold,), "fold", _AVERAGE | Trait.BY_PLACE)
_row(nn.Unfold, "im2col", Trait.LINEAR | Trait.FILLS)

# norms and softmaxes
_row(
    (nn.BatchNorm2d,),
    "",
    Trait.NORM | Trait.CHANNELS_FIRST | Trait.PER_CHANNEL | Trait.FRESH | Trait.BY_SAMPLE,
    Reach.POINT,
)
_row(_batch._BatchNorm, "", Trait.NORM | Trait.CHANNELS_FIRST | Trait.BY_SAMPLE)
_row(
    torchvision.ops.FrozenBatchNorm2d,
    "",
    Trait.NORM | Trait.CHANNELS_FIRST | Trait.PER_CHANNEL | Trait.LINEAR | Trait.BY_SAMPLE,
    Reach.POINT,
)
_row((), "batch_norm", Trait.NORM | Trait.CHANNELS_FIRST | Trait.PER_CHANNEL)
_row(layers.Normalize, "", Trait.PER_CHANNEL | Trait.LINEAR, Reach.POINT, relevance=Relevance.PASSES)
_row((nn.LayerNorm,), "layer_norm", Trait.NORM | Trait.CHANNELS_LAST, Reach.POINT, relevance=Relevance.CENTERS)
_row(
    nn.GroupNorm,
    "group_norm",
    Trait.NORM | Trait.CHANNELS_FIRST | Trait.BY_SAMPLE,
    Reach.WHOLE,
    relevance=Relevance.CENTERS,
)
_row((nn.InstanceNorm2d,), "", Trait.NORM | Trait.CHANNELS_FIRST, Reach.WHOLE, relevance=Relevance.CENTERS)
_row(
    (nn.InstanceNorm1d, nn.InstanceNorm3d),
    "instance_norm",
    Trait.NORM | Trait.CHANNELS_FIRST,
    relevance=Relevance.CENTERS,
)
_row(Standardized, "", Trait.NORM, Reach.POINT, relevance=Relevance.CENTERS)
_row(OfUnitSize, "", Trait.NORM, Reach.POINT, relevance=Relevance.PASSES)
_row(nn.RMSNorm, "rms_norm", Trait.NORM | Trait.CHANNELS_LAST, relevance=Relevance.PASSES)
_row((nn.LocalResponseNorm, nn.CrossMapLRN2d), "local_response_norm", Trait.NORM, relevance=Relevance.PASSES)
_row((), "normalize", Trait.NORM, Reach.POINT, relevance=Relevance.PASSES)
_row((nn.Softmax,), "softmax", Trait.SOFTMAX, relevance=Relevance.SOFTMAX)
_row(nn.Softmax2d, "", Trait.SOFTMAX | Trait.CHANNELS_FIRST, relevance=Relevance.SOFTMAX)
_row(nn.LogSoftmax, "log_softmax", Trait.LOG_SOFTMAX, relevance=Relevance.PASSES)

# operations whose outputs are no real numbers that follow from the input
_row(
    (),
    "eq ne lt le gt ge equal greater greater_equal less less_equal not_equal isnan isinf isfinite isclose isposinf "
    "isneginf logical_and logical_or logical_not logical_xor argmax argmin argsort nonzero argwhere one_hot bucketize "
    "searchsorted multinomial bincount count_nonzero any all signbit",
    Trait.DISCRETE,
)
_row((), "bool int long", Trait.DISCRETE | Trait.VIEW, relevance=Relevance.ARRANGES)
_row((), "short byte char", Trait.DISCRETE)
_row(
    (),
    "zeros_like ones_like full_like empty_like rand_like randn_like randint_like new_zeros new_ones new_full new_empty "
    "new_tensor new_empty_strided new",
    Trait.CONSTANT,
)
_row((), "item tolist", Trait.NUMBER)
_row((), "cpu cuda", Trait.VIEW, relevance=Relevance.ARRANGES)
_row(layers.Constant, "", Trait.LINEAR)

# transforms of complex numbers
_row((), "conj conj_physical resolve_conj resolve_neg", Trait.LINEAR)
_row(
    (),
    "fft_fft fft_ifft fft_rfft fft_irfft fft_hfft fft_ihfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_fftn fft_ifftn "
    "fft_rfftn fft_irfftn fft_fftshift fft_ifftshift",
    Trait.LINEAR,
)

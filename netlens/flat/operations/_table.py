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
_T, _C, _R, _AT = Trait, Curve, Relevance, Reach.POINT
_EACH = _T.ELEMENTWISE | _T.BY_SAMPLE
_RECTIFIES = _EACH | _T.RECTIFIER
_AVERAGE = _T.LINEAR | _T.POSITIVE
_MAPS = _T.CHANNELS_FIRST | _T.BY_PLACE
_CONVOLVES = _MAPS | _T.LINEAR | _T.WEIGHS
_POOLED = _MAPS | _T.POOLS
_RESIZED = _MAPS | _T.RESIZES
_MOVE = _T.LINEAR | _T.MOVES
_PADDED = _T.LINEAR | _T.FILLS | _T.PADS
_RESHAPE = _MOVE | _T.HOMOGENEOUS | _T.VIEW

# activation functions
_row(
    nn.ReLU,
    "relu",
    _RECTIFIES | _T.MORTAL | _T.HOMOGENEOUS | _T.INVERTIBLE | _T.NONNEGATIVE,
    _AT,
    _C.COPY,
    _R.PASSES,
    F.relu,
)
_row(nn.ReLU6, "relu6", _RECTIFIES | _T.MORTAL | _T.INVERTIBLE | _T.NONNEGATIVE, _AT, _C.COPY, _R.PASSES, F.relu6)
_row((nn.Hardtanh, nn.Threshold), "hardtanh threshold", _RECTIFIES | _T.MORTAL, _AT, _C.COPY, _R.PASSES)
_row(nn.LeakyReLU, "leaky_relu", _RECTIFIES | _T.HOMOGENEOUS, _AT, _C.SCALED, _R.PASSES)
_row(nn.RReLU, "rrelu", _RECTIFIES, _AT, _C.SCALED, _R.PASSES)
_row(nn.PReLU, "prelu", _RECTIFIES | _T.HOMOGENEOUS | _T.PER_CHANNEL, _AT, _C.SCALED, _R.PASSES)
_row((nn.ELU, nn.CELU, nn.SELU), "elu celu selu", _RECTIFIES, _AT, _C.SCALED, _R.PASSES)
_row(nn.Softplus, "softplus", _RECTIFIES | _T.NONNEGATIVE, _AT, _C.UNIT, _R.PASSES)
_row((nn.GELU, nn.Mish), "gelu mish", _RECTIFIES, _AT, _C.UNIT, _R.PASSES)
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
_row((), "contiguous to type_as", _T.LINEAR | _T.KEEPS | _T.VIEW | _T.MOVES | _T.CASTS, _AT, relevance=_R.ARRANGES)
_row((), "clone", _T.LINEAR | _T.MOVES | _T.CASTS, _AT, relevance=_R.ARRANGES)
_row((), "type float double half bfloat16", _T.LINEAR | _T.VIEW | _T.CASTS, _AT, relevance=_R.ARRANGES)
_row((), "detach", _T.VIEW, relevance=_R.COPIES)

# operations that move values
_row(layers.Reshape, "view reshape squeeze unsqueeze", _RESHAPE, _AT, relevance=_R.ARRANGES)
_row(layers.Permute, "permute transpose t", _RESHAPE, _AT, relevance=_R.ARRANGES)
_row(layers.Part, "", _MOVE | _T.HOMOGENEOUS, _AT, relevance=_R.ARRANGES)
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
    "repeat repeat_interleave tile flip roll rot90 index_select gather take_along_dim hstack vstack dstack",
    _MOVE,
    relevance=_R.ARRANGES,
)
_row((), "stack", _MOVE | _T.JOINS, relevance=_R.ARRANGES)
_row((), "tril triu setitem", _T.LINEAR | _T.FILLS, relevance=_R.ARRANGES)
_row((nn.PixelShuffle, nn.PixelUnshuffle), "pixel_shuffle pixel_unshuffle", _MOVE | _MAPS, relevance=_R.ARRANGES)
_row(nn.ChannelShuffle, "channel_shuffle", _MOVE, _AT, relevance=_R.ARRANGES)
_row(layers.Concatenate, "cat concat concatenate", _MOVE | _T.HOMOGENEOUS | _T.JOINS, _AT, relevance=_R.ARRANGES)
_row((layers.Scatter, layers.Again), "", _T.LINEAR | _T.FILLS, relevance=_R.ARRANGES)
_row((nn.ZeroPad2d, nn.ReflectionPad2d), "", _PADDED | _T.HOMOGENEOUS, _AT, relevance=_R.ARRANGES)
_row(
    (_pad._ConstantPadNd, _pad._ReflectionPadNd, _pad._ReplicationPadNd),
    "pad _patch_merging_pad",
    _PADDED,
    _AT,
    relevance=_R.ARRANGES,
)
_row(_pad._CircularPadNd, "", _PADDED)
_row((), "real imag", _T.LINEAR | _T.VIEW, relevance=_R.ARRANGES)
_row((), "view_as_real view_as_complex", _T.LINEAR | _T.VIEW, relevance=_R.ARRANGES)

# operations that choose values
_row((), "masked_fill where maximum minimum", relevance=_R.ARRANGES)
_row((), "amax amin", _T.REDUCES, relevance=_R.ARRANGES)
_row((), "msort", relevance=_R.ARRANGES)
_row((), "max min median", _T.INDICES_ALONG | _T.REDUCES, relevance=_R.ARRANGES)
_row((), "nanmedian", _T.INDICES_ALONG | _T.REDUCES)
_row((), "sort topk kthvalue mode cummax cummin", _T.INDICES, relevance=_R.ARRANGES)
_row((nn.MaxPool2d,), "", _POOLED | _T.HOMOGENEOUS | _T.BY_SAMPLE, Reach.WINDOW, relevance=_R.ARRANGES)
_row(_pool._MaxPoolNd, "max_pool1d max_pool2d max_pool3d", _POOLED, relevance=_R.ARRANGES)
_row(nn.AdaptiveMaxPool2d, "", _POOLED | _T.HOMOGENEOUS | _T.BY_SAMPLE, Reach.WHOLE, relevance=_R.ARRANGES)
_row(
    _pool._AdaptiveMaxPoolNd,
    "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d",
    _POOLED,
    relevance=_R.ARRANGES,
)

# arithmetic
_MEETING = _T.MEETS | _T.BY_SAMPLE
_row(layers.Add, "add", _MEETING | _T.LINEAR | _T.POSITIVE | _T.HOMOGENEOUS | _T.FRESH, _AT)
_row(layers.Subtract, "sub subtract", _MEETING | _T.LINEAR, _AT)
_row((), "rsub", _T.LINEAR, _AT)
_row(layers.Multiply, "mul multiply __mul__", _MEETING | _T.MULTILINEAR, _AT, relevance=_R.MULTIPLIES)
_row(layers.Divide, "truediv div divide true_divide", _MEETING, _AT, relevance=_R.DIVIDES)
_row((), "complex", _T.LINEAR)

# sums and products
_row(layers.Mean, "mean", _AVERAGE | _T.REDUCES | _T.HOMOGENEOUS, Reach.WHOLE)
_row((), "sum", _AVERAGE | _T.REDUCES)
_row((), "cumsum", _AVERAGE)
_row((), "nansum nanmean", _T.POSITIVE | _T.REDUCES)
_row((), "trace", _T.POSITIVE)
_row((), "var std norm prod", _T.REDUCES)
_row(layers.MatMul, "matmul bmm", _T.MULTILINEAR | _T.MATRIX_PRODUCT, Reach.WHOLE, relevance=_R.CONTRACTS)
_row((), "mm", _T.MULTILINEAR | _T.MATRIX_PRODUCT, relevance=_R.CONTRACTS)
_row((), "einsum mv dot tensordot", _T.MULTILINEAR, relevance=_R.CONTRACTS)
_row((), "inner", relevance=_R.CONTRACTS)
_row((), "outer bilinear", _T.MULTILINEAR)
_row((), "linear", _T.MULTILINEAR | _T.WEIGHS | _T.CHANNELS_LAST)
_row((), "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d", _T.MULTILINEAR | _T.WEIGHS | _MAPS)
_row(LogSumExp, "logsumexp", _T.REDUCES)
_row((), "scaled_dot_product_attention", relevance=_R.ATTENDS)
_row(nn.Linear, "", _T.LINEAR | _T.WEIGHS | _T.CHANNELS_LAST | _T.FRESH | _T.BY_SAMPLE, Reach.ROW)
_row(nn.Conv2d, "", _CONVOLVES | _T.FRESH | _T.BY_SAMPLE, Reach.WINDOW)
_row((nn.Conv1d, nn.Conv3d, nn.ConvTranspose2d), "", _CONVOLVES | _T.BY_SAMPLE)
_row(_conv._ConvNd, "", _CONVOLVES)

# pools that average, and resizing
_row(nn.AvgPool2d, "", _POOLED | _AVERAGE | _T.HOMOGENEOUS | _T.BY_SAMPLE, Reach.WINDOW)
_row(nn.AdaptiveAvgPool2d, "", _POOLED | _AVERAGE | _T.HOMOGENEOUS | _T.BY_SAMPLE, Reach.WHOLE)
_row(
    (_pool._AvgPoolNd, _pool._AdaptiveAvgPoolNd),
    "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d",
    _POOLED | _AVERAGE,
)
_row(_pool._LPPoolNd, "lp_pool1d lp_pool2d lp_pool3d", _POOLED)
_row(nn.Upsample, "", _RESIZED | _T.LINEAR | _T.HOMOGENEOUS | _T.BY_SAMPLE)
_row((), "interpolate upsample", _RESIZED | _T.LINEAR)
_row((), "grid_sample", _RESIZED)
_row((nn.Fold,), "fold", _AVERAGE | _T.BY_PLACE)
_row(nn.Unfold, "im2col", _T.LINEAR | _T.FILLS)

# norms and softmaxes
_row((nn.BatchNorm2d,), "", _T.NORM | _T.CHANNELS_FIRST | _T.PER_CHANNEL | _T.FRESH | _T.BY_SAMPLE, _AT)
_row(_batch._BatchNorm, "", _T.NORM | _T.CHANNELS_FIRST | _T.BY_SAMPLE)
_row(
    torchvision.ops.FrozenBatchNorm2d,
    "",
    _T.NORM | _T.CHANNELS_FIRST | _T.PER_CHANNEL | _T.LINEAR | _T.BY_SAMPLE,
    _AT,
)
_row((), "batch_norm", _T.NORM | _T.CHANNELS_FIRST | _T.PER_CHANNEL)
_row(layers.Normalize, "", _T.PER_CHANNEL | _T.LINEAR, _AT, relevance=_R.PASSES)
_row((nn.LayerNorm,), "layer_norm", _T.NORM | _T.CHANNELS_LAST, _AT, relevance=_R.CENTERS)
_row(nn.GroupNorm, "group_norm", _T.NORM | _T.CHANNELS_FIRST | _T.BY_SAMPLE, Reach.WHOLE, relevance=_R.CENTERS)
_row((nn.InstanceNorm2d,), "", _T.NORM | _T.CHANNELS_FIRST, Reach.WHOLE, relevance=_R.CENTERS)
_row((nn.InstanceNorm1d, nn.InstanceNorm3d), "instance_norm", _T.NORM | _T.CHANNELS_FIRST, relevance=_R.CENTERS)
_row(Standardized, "", _T.NORM, _AT, relevance=_R.CENTERS)
_row(OfUnitSize, "", _T.NORM, _AT, relevance=_R.PASSES)
_row(nn.RMSNorm, "rms_norm", _T.NORM | _T.CHANNELS_LAST, relevance=_R.PASSES)
_row((nn.LocalResponseNorm, nn.CrossMapLRN2d), "local_response_norm", _T.NORM, relevance=_R.PASSES)
_row((), "normalize", _T.NORM, _AT, relevance=_R.PASSES)
_row((nn.Softmax,), "softmax", _T.SOFTMAX, relevance=_R.SOFTMAX)
_row(nn.Softmax2d, "", _T.SOFTMAX | _T.CHANNELS_FIRST, relevance=_R.SOFTMAX)
_row(nn.LogSoftmax, "log_softmax", _T.LOG_SOFTMAX, relevance=_R.PASSES)

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

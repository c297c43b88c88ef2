"""What a layer is to relevance: it passes it on, rearranges it, multiplies activations, or mixes them."""

from __future__ import annotations

from enum import Enum
from typing import Any

import torchvision
from torch import nn

from netlens.flat import layers
from netlens.flat.layers import Function, Piece, Wrapper
from netlens.flat.lift import is_view
from netlens.flat.rules import RECTIFIERS
from netlens.flat.written import LogSumExp, OfUnitSize
from netlens.rules.pieces import has_pieces
from netlens.rules.relevance_norms import CENTERED, CENTERED_NAMES
from netlens.rules.relevance_weights import has_weights


class Role(Enum):
    """What a layer is to relevance."""

    ARRANGES = "each output is one of the inputs, or a constant: relevance goes back by the true gradient"
    COPIES = "a copy that hides from gradients: relevance passes as it is"
    PASSES = "elementwise, or divides by a norm: relevance passes as it is"
    CENTERS = "a normalization that subtracts a mean"
    SQUASHES = "elementwise, to between 0 and 1, as gates do: relevance passes as it is"
    SOFTMAX = "a softmax"
    MULTIPLIES = "an elementwise product"
    DIVIDES = "an elementwise quotient"
    CONTRACTS = "a sum of products, such as a matrix product"
    ATTENDS = "attention in one fused call: query, key, value"
    WEIGHTS = "a convolution or linear layer"
    COMPOSED = "known piece by piece, as recurrent layers are: each piece has a role of its own"
    MIXES = "all else: a sum, a mean, an affine norm, an opaque module"


_DROPOUTS = nn.modules.dropout._DropoutNd, torchvision.ops.StochasticDepth
_POOLS = nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd
_PADS = tuple(getattr(nn, f"{kind}Pad{n}d") for kind in ("Constant", "Reflection", "Replication") for n in (1, 2, 3))
_NORMS = nn.RMSNorm, OfUnitSize, nn.LocalResponseNorm, nn.CrossMapLRN2d, layers.Normalize
_ACTIVATIONS = (
    *(nn.LogSigmoid, nn.Tanh, nn.Tanhshrink, nn.Softsign, nn.Softshrink, nn.Hardshrink),
    *(nn.LogSoftmax,),
)
_TYPES: tuple[tuple[tuple[type[nn.Module], ...], Role], ...] = (
    ((layers.Concatenate, layers.Reshape, layers.Permute, layers.Select, layers.Scatter, layers.Again), Role.ARRANGES),
    ((nn.Identity, nn.Flatten, nn.Unflatten, *_DROPOUTS, *_POOLS, *_PADS), Role.ARRANGES),
    ((nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle), Role.ARRANGES),
    ((*RECTIFIERS, *_ACTIVATIONS, *_NORMS), Role.PASSES),
    (CENTERED, Role.CENTERS),
    ((nn.Sigmoid, nn.Hardsigmoid), Role.SQUASHES),
    ((nn.Softmax, nn.Softmax2d), Role.SOFTMAX),
    ((layers.Multiply,), Role.MULTIPLIES),
    ((layers.Divide,), Role.DIVIDES),
    ((layers.MatMul,), Role.CONTRACTS),
    ((LogSumExp,), Role.MIXES),
)
_FUNCTIONS = {
    Role.ARRANGES: """
        getitem getattr setitem chunk split tensor_split unbind stack hstack vstack dstack contiguous clone to expand
        repeat tile repeat_interleave roll flip rot90 pad gather index_select masked_fill where tril triu narrow unfold
        dropout pixel_shuffle pixel_unshuffle channel_shuffle max amax maximum min amin minimum take_along_dim
        sort msort topk kthvalue median mode cummax cummin
        adaptive_max_pool1d adaptive_max_pool3d max_pool1d max_pool3d _patch_merging_pad
    """,
    Role.COPIES: "detach",
    Role.PASSES: """
        rms_norm local_response_norm normalize prelu rrelu logsigmoid tanhshrink
        softsign softshrink hardshrink log_softmax relu relu6 gelu silu hardswish tanh softplus
        clamp clip clamp_min clamp_max hardtanh threshold leaky_relu elu celu selu mish
        abs pow square sqrt rsqrt reciprocal exp expm1 log log1p log2 log10 erf
    """,
    Role.CENTERS: " ".join(CENTERED_NAMES),
    Role.SQUASHES: "sigmoid hardsigmoid",
    Role.CONTRACTS: "einsum matmul bmm mm mv dot tensordot inner",
    Role.ATTENDS: "scaled_dot_product_attention",
}
_NAMES = {name: role for role, names in _FUNCTIONS.items() for name in names.split()}


def role_of(layer: nn.Module) -> Role:
    """What a layer is to relevance, by its type or, for calls, the name of its function.

    Pieces that adapters write (windows, masks) only arrange; a module that nothing is known of mixes.
    """
    inner: Any = layer
    while isinstance(inner, Wrapper):
        inner = inner.inner
    if has_weights(layer):  # one that is called with more than its input has no place to put other weights
        return Role.WEIGHTS
    if has_pieces(inner):
        return Role.COMPOSED
    if getattr(inner, "running_mean", None) is not None:  # whatever its type, it knows its mean and deviation
        return Role.MIXES
    for kinds, role in _TYPES:
        if isinstance(inner, kinds):
            return role
    if isinstance(inner, Function):
        name = getattr(inner.function, "__name__", "")
        if name == "getattr" and inner.args[1] == "data":
            return Role.COPIES
        return _NAMES.get(name, Role.ARRANGES if is_view(inner) else Role.MIXES)
    return Role.ARRANGES if isinstance(inner, Piece) else Role.MIXES

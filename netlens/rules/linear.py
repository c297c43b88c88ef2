"""Which layers are linear in what they read, so that their true gradient is right for any change, however large."""

from __future__ import annotations

import torchvision
from torch import nn

from netlens.flat import layers
from netlens.rules.calls import innermost, name_of

_conv, _pad, _up = nn.modules.conv, nn.modules.padding, nn.modules.upsampling
_TYPES: tuple[type[nn.Module], ...] = (
    *(nn.Linear, _conv._ConvNd, nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.dropout._DropoutNd),
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(_pad._ConstantPadNd, _pad._ReflectionPadNd, _pad._ReplicationPadNd, _pad._CircularPadNd, _up.Upsample),
    *(nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, nn.Fold, nn.Unfold),
    *(torchvision.ops.StochasticDepth, torchvision.ops.FrozenBatchNorm2d),
    *(layers.Add, layers.Subtract, layers.Concatenate, layers.Mean, layers.Reshape, layers.Permute, layers.Select),
    *(layers.Constant, layers.Normalize, layers.Scatter, layers.Again),
)
_LINEAR = """
    add sub rsub neg negative sum mean cumsum cat concat stack hstack vstack dstack chunk split tensor_split unbind view
    view_as reshape reshape_as flatten ravel unflatten squeeze unsqueeze permute transpose swapaxes swapdims movedim t
    moveaxis expand expand_as broadcast_to repeat repeat_interleave tile contiguous clone to type type_as float double
    half bfloat16 getattr getitem setitem select narrow index_select gather take_along_dim diagonal tril triu flip roll
    rot90 pad interpolate upsample pixel_shuffle pixel_unshuffle channel_shuffle unfold fold
    avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d dropout dropout2d
    _patch_merging_pad real imag conj conj_physical resolve_conj resolve_neg view_as_real view_as_complex complex
    fft_fft fft_ifft fft_rfft fft_irfft fft_hfft fft_ihfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_fftn fft_ifftn
    fft_rfftn fft_irfftn fft_fftshift fft_ifftshift
"""
_MULTILINEAR = """
    mul multiply __mul__ matmul bmm mm mv dot einsum tensordot outer linear bilinear conv1d conv2d conv3d
    conv_transpose1d conv_transpose2d conv_transpose3d
"""
_NAMES = frozenset(_LINEAR.split())
_PRODUCTS = frozenset(_MULTILINEAR.split())


def is_linear(layer: nn.Module) -> bool:
    """Whether a layer is linear, up to a constant, in all that it reads together."""
    inner = innermost(layer)
    return isinstance(inner, _TYPES) or name_of(inner) in _NAMES or _declared(inner)


def is_product(layer: nn.Module) -> bool:
    """Whether a layer is linear in each of its tensors, were the others constant."""
    inner = innermost(layer)
    return isinstance(inner, (layers.Multiply, layers.MatMul)) or name_of(inner) in _PRODUCTS


def _declared(layer: nn.Module) -> bool:
    """Whether its writer says so, or a norm divides by recorded statistics."""
    return (isinstance(layer, layers.Piece) and layer.linear) or getattr(layer, "running_mean", None) is not None

"""Conversions between red, green and blue and colors that vary independently of each other in photographs."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# how red, green and blue vary together in photographs: each column is a direction, and its length is the strength
_PHOTOGRAPHS = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]], dtype=torch.float64)
MIX = _PHOTOGRAPHS / _PHOTOGRAPHS.norm(dim=0).max()
"""(3, 3) float64: the matrix from independent colors to red, green and blue. Its columns are not orthogonal."""

Squash = Literal["sigmoid", "sine"]
"""How unbounded values become levels from 0 to 1: by a sigmoid, which is flat near black and white; or by a sine."""

_LUMINANCE = (0.299, 0.587, 0.114)

DARKEST = 1 / 512
"""Half a gray level of 8 bits: a value this near to 0 or 1 is rounded to 0 or 255. A sigmoid never equals 0 or 1.

A sine reaches them, but it is level there; at half a gray level from them, its slope is 1/11 of that at mid gray.
"""


def mixed(values: Tensor) -> Tensor:
    """Independent colors (N, C, h, w) as red, green and blue, if C is 3 or 4. All other channels stay unchanged.

    Olah et al. 2017, https://distill.pub/2017/feature-visualization
    """
    return _through(MIX, values)


def unmixed(values: Tensor) -> Tensor:
    """The inverse of `mixed`."""
    return _through(torch.linalg.inv(MIX), values)


def to_image(values: Tensor, decorrelate: bool, squash: Squash = "sigmoid") -> Tensor:
    """Unbounded values (N, C, h, w) as an image in [0, 1]; 0 is mid gray, where both functions have the slope 1 / 4."""
    colors = mixed(values) if decorrelate else values
    return colors.sigmoid() if squash == "sigmoid" else _sine(colors)


def from_image(image: Tensor, decorrelate: bool, squash: Squash = "sigmoid") -> Tensor:
    """The inverse of `to_image`. It is exact, except for values nearer than half a gray level to black or white."""
    levels = image.clamp(DARKEST, 1 - DARKEST)
    values = levels.logit() if squash == "sigmoid" else 2 * (2 * levels - 1).asin()
    return unmixed(values) if decorrelate else values


class _Sine(torch.autograd.Function):
    """(1 + sin(x / 2)) / 2 with little memory, for large pictures. It can be differentiated once only."""

    @staticmethod
    def forward(ctx: Any, colors: Tensor) -> Tensor:
        ctx.save_for_backward(colors)
        return colors.div(2).sin_().add_(1).div_(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (colors,) = ctx.saved_tensors
        slope: Tensor = colors.div(2).cos_().div_(4)
        return slope.mul_(gradient)


def _sine(colors: Tensor) -> Tensor:
    levels: Tensor = _Sine.apply(colors)
    return levels


def gray(pictures: Tensor) -> Tensor:
    """(N, 1, H, W): the luminance of pictures with three channels. Pictures with one channel stay unchanged."""
    if pictures.shape[1] == 1:
        return pictures
    return torch.einsum("c,nchw->nhw", pictures.new_tensor(_LUMINANCE), pictures)[:, None]


def _through(matrix: Tensor, values: Tensor) -> Tensor:
    if values.shape[1] not in (3, 4):
        return values
    # under autocast, the product would have too few bits for 256 gray levels
    with torch.autocast(values.device.type, enabled=False):
        colors = torch.einsum("ij,njhw->nihw", matrix.to(values), values[:, :3])
    return colors if values.shape[1] == 3 else torch.cat([colors, values[:, 3:]], 1)

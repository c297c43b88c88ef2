"""Colors that vary independently of each other, as the channels of photographs do not, and back."""

from __future__ import annotations

import torch
from torch import Tensor

# how red, green and blue of photographs vary together: each column is a direction and its strength
_PHOTOGRAPHS = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]], dtype=torch.float64)
MIX = _PHOTOGRAPHS / _PHOTOGRAPHS.norm(dim=0).max()
"""(3, 3) float64: independent colors to red, green and blue. Its columns are not orthogonal."""

_LUMINANCE = (0.299, 0.587, 0.114)

DARKEST = 1 / 512
"""Half a gray level of 8 bits. A sigmoid reaches neither 0 nor 1; this near, they round to 0 and 255."""


def mixed(values: Tensor) -> Tensor:
    """Independent colors (N, C, h, w) to red, green and blue; a fourth channel, and other numbers of channels, stay.

    Olah et al. 2017, https://distill.pub/2017/feature-visualization
    """
    return _through(MIX, values)


def unmixed(values: Tensor) -> Tensor:
    """The inverse of `mixed`."""
    return _through(torch.linalg.inv(MIX), values)


def to_image(values: Tensor, decorrelate: bool) -> Tensor:
    """Unbounded values (N, C, h, w) to an image in [0, 1]; 0 is mid gray."""
    return (mixed(values) if decorrelate else values).sigmoid()


def from_image(image: Tensor, decorrelate: bool) -> Tensor:
    """The inverse of `to_image`; it is exact except within half a gray level of black and white."""
    values = image.clamp(DARKEST, 1 - DARKEST).logit()
    return unmixed(values) if decorrelate else values


def gray(pictures: Tensor) -> Tensor:
    """(N, 1, H, W): the luminance of pictures of three channels, or those of one as they are."""
    if pictures.shape[1] == 1:
        return pictures
    return torch.einsum("c,nchw->nhw", pictures.new_tensor(_LUMINANCE), pictures)[:, None]


def _through(matrix: Tensor, values: Tensor) -> Tensor:
    if values.shape[1] not in (3, 4):
        return values
    # under autocast, a product of matrices would leave too few bits for 256 gray levels
    with torch.autocast(values.device.type, enabled=False):
        colors = torch.einsum("ij,njhw->nihw", matrix.to(values), values[:, :3])
    return colors if values.shape[1] == 3 else torch.cat([colors, values[:, 3:]], 1)

"""Gradient transforms: functions that change the gradient at a picture before the optimizer uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from netlens.options import check, option

GradientTransform = Callable[[Tensor], Tensor]
"""A function from the gradient at the pictures (N, C, H, W) to a new gradient. Samples must stay independent."""

_EPS = 1e-12


def normalized(gradient: Tensor) -> Tensor:
    """Divide the gradient of each sample by its mean absolute value, so that all objectives take equal steps.

    Args:
        gradient: The gradient at the pictures (N, C, H, W). A gradient of 0 stays 0.

    Example:
        >>> import torch
        >>> normalized(torch.tensor([[[[1.0, -3.0]]]])).tolist()
        [[[[0.5, -1.5]]]]
    """
    return gradient / gradient.abs().mean((1, 2, 3), keepdim=True).clamp(min=_EPS)


@dataclass(frozen=True)
class LaplacianSmoothing:
    """Scale all octaves of the gradient to the same strength, so that coarse structure counts as much as fine detail.

    Mordvintsev et al. 2015, https://github.com/google/deepdream
    """

    levels: int = option(4, least=1, help="Number of octaves.")

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, gradient: Tensor) -> Tensor:
        details = []
        coarse = gradient
        for _ in range(self.levels - 1):
            if min(coarse.shape[-2:]) < 2:
                break
            smaller = F.avg_pool2d(coarse, 2, ceil_mode=True, count_include_pad=False)
            details.append(coarse - _enlarged(smaller, coarse))
            coarse = smaller
        smooth = _of_one_strength(coarse)
        for detail in reversed(details):
            smooth = _enlarged(smooth, detail) + _of_one_strength(detail)
        return smooth


def _enlarged(image: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(image, like.shape[-2:], mode="bilinear", align_corners=False)


def _of_one_strength(band: Tensor) -> Tensor:
    return band / band.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=_EPS)

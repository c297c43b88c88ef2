"""Objectives on the picture itself: how rough, how loud or how busy at the edge it is. Penalties: subtract them.

They read "input" in the record, which is in the network's units, and take its normalization back, so that they see the
picture in [0, 1]. Each is a mean over pixels and colors, so that its weight needs no change when the size does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NetLensError, NotApplicable
from netlens.objectives.base import Objective, PerSample, Record


@dataclass(frozen=True, repr=False)
class PictureObjective(PerSample):
    """One number per sample from the picture (N, C, H, W) in [0, 1]; made by the functions below."""

    function: Callable[[Tensor], Tensor]
    name: str

    @property
    def layers(self) -> tuple[str, ...]:
        return ("input",)

    def __call__(self, record: Record) -> Tensor:
        return self.function(picture_of(record))

    def take(self, samples: Sequence[int]) -> Objective:
        return self

    def __repr__(self) -> str:
        return self.name


def total_variation(beta: float = 2) -> Objective:
    """The mean of (dx² + dy²)^(beta/2), for differences dx along rows and dy along columns to the next pixel.

    Beyond the last pixel there is no difference. beta: from 1, at which edges cost their height; at 2, its square.

    Mahendran and Vedaldi 2015, https://arxiv.org/abs/1412.0035
    """
    if not beta >= 1:
        raise NetLensError(f"beta is {beta}; it must be 1 or more.")

    def value(picture: Tensor) -> Tensor:
        dx = F.pad(picture.diff(dim=3), (0, 1, 0, 0))
        dy = F.pad(picture.diff(dim=2), (0, 0, 0, 1))
        if beta == 2:
            return (dx.square() + dy.square()).flatten(1).mean(1)
        # the norm has a gradient of 0 where both are 0, a square root of squares none
        return torch.linalg.vector_norm(torch.stack([dx, dy]), dim=0).pow(beta).flatten(1).mean(1)

    return PictureObjective(value, f"total_variation({beta:g})")


def l1(constant: float = 0.5) -> Objective:
    """The mean distance |x - constant| of the values from a constant, by default gray."""
    return PictureObjective(lambda picture: (picture - constant).abs().flatten(1).mean(1), f"l1({constant:g})")


def l2(constant: float = 0.5) -> Objective:
    """The mean square (x - constant)² of the values' distance from a constant, by default gray."""
    return PictureObjective(lambda picture: (picture - constant).square().flatten(1).mean(1), f"l2({constant:g})")


def alpha_norm(alpha: float = 6, constant: float = 0.5) -> Objective:
    """The mean of |x - constant|^alpha: a high alpha spares most values and keeps the loudest in bounds.

    Mahendran and Vedaldi 2015, https://arxiv.org/abs/1412.0035
    """
    if not alpha >= 1:
        raise NetLensError(f"alpha is {alpha}; it must be 1 or more.")

    def value(picture: Tensor) -> Tensor:
        return (picture - constant).abs().pow(alpha).flatten(1).mean(1)

    return PictureObjective(value, f"alpha_norm({alpha:g}, {constant:g})")


def blur(sigma: float = 1) -> Objective:
    """The mean square of the difference between the picture and itself blurred by a Gaussian of `sigma` pixels."""
    if not sigma > 0:
        raise NetLensError(f"sigma is {sigma} pixels; it must be above 0.")
    return PictureObjective(
        lambda picture: (picture - _blurred(picture, sigma)).square().flatten(1).mean(1), f"blur({sigma:g})"
    )


def boundary(width: int = 20, constant: float = 0.5) -> Objective:
    """The mean square (x - constant)² over the frame of `width` pixels along the edges, which keeps it plain."""
    if width < 1:
        raise NetLensError(f"the frame is {width} pixels wide; it must have at least 1.")

    def value(picture: Tensor) -> Tensor:
        height, across = picture.shape[2:]
        frame = torch.ones(height, across, dtype=torch.bool, device=picture.device)
        frame[width : height - width, width : across - width] = False
        return (picture[:, :, frame] - constant).square().flatten(1).mean(1)

    return PictureObjective(value, f"boundary({width}, {constant:g})")


def picture_of(record: Record) -> Tensor:
    """(N, C, H, W): the network's input with its normalization taken back, so in [0, 1] if it came from a picture.

    Linear, not clipped, so that a value out of bounds still has a gradient. A gray input of a network whose family is
    known by colors is normalized by their average.
    """
    flat = record.flat
    x = record[flat.inputs[0]]
    if x.ndim != 4:
        raise NotApplicable(f"the input of {flat.name} is {tuple(x.shape)}, no pictures (N, C, H, W).")
    mean, std = (x.new_tensor(values) for values in (flat.adapter.preprocessing.mean, flat.adapter.preprocessing.std))
    if x.shape[1] == 1:
        mean, std = mean.mean(0, keepdim=True), std.mean(0, keepdim=True)
    if len(mean) not in (1, x.shape[1]):
        raise NotApplicable(
            f"the input of {flat.name} has {x.shape[1]} channels but its preprocessing {len(mean)}; "
            "give an Adapter(preprocessing=...) that fits."
        )
    return x * std[:, None, None] + mean[:, None, None]


def _blurred(picture: Tensor, sigma: float) -> Tensor:
    """The picture convolved with a Gaussian, its edge pixels repeated outwards."""
    radius = math.ceil(3 * sigma)
    steps = torch.arange(-radius, radius + 1, dtype=picture.dtype, device=picture.device)
    kernel = torch.exp(-0.5 * (steps / sigma).square())
    kernel = kernel / kernel.sum()
    padded = F.pad(picture, (radius,) * 4, mode="replicate").flatten(0, 1)[:, None]
    across = F.conv2d(padded, kernel[None, None, None, :])
    return F.conv2d(across, kernel[None, None, :, None]).view_as(picture)

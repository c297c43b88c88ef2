"""Objectives of the picture itself: its roughness, its contrast or its frame. They are penalties: subtract them.

They read the layer "input" and undo the preprocessing, so that they measure a picture in [0, 1]. Each is a mean over
pixels and colors, so that one weight fits pictures of every size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NotApplicable
from netlens.objectives._base import Objective, PerSample, Record
from netlens.objectives.parts import Part, Place
from netlens.options import checked


@dataclass(frozen=True, repr=False)
class PictureObjective(PerSample):
    """One number per sample that is computed from the picture. The functions in this file return such objectives.

    Args:
        function: A function from pictures (N, C, H, W) in [0, 1] to numbers (N,).
        name: The text of `repr`.
        by_pixel: For a mean over pixels and colors: the function whose mean it is, from pictures to (N, C, H, W). The
            value of a pixel depends on the pixel itself and on the next one in each direction.
    """

    function: Callable[[Tensor], Tensor]
    name: str
    by_pixel: Callable[[Tensor], Tensor] | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        return ("input",)

    def __call__(self, record: Record) -> Tensor:
        return self.function(picture_of(record))

    def parts(self, record: Record, at: Mapping[str, Place]) -> tuple[Part, ...]:
        if self.by_pixel is None:
            return super().parts(record, at)
        place = at["input"]
        values = place.of(self.by_pixel(picture_of(record)))
        return (Part(values.flatten(1).sum(1) / (values.shape[1] * place.whole)),)

    def joined(self, totals: Sequence[Tensor]) -> Tensor:
        return totals[0]

    def take(self, samples: Sequence[int]) -> Objective:
        return self

    def __repr__(self) -> str:
        return self.name


def total_variation(beta: float = 2) -> Objective:
    """The roughness of the picture: mean((dx² + dy²)^(beta/2)).

    dx and dy are the differences to the next pixel along rows and columns; they are 0 at the last pixel.

    Args:
        beta: The power, at least 1. An edge counts by its height if beta is 1, and by its squared height if it is 2.

    Raises:
        NetLensError: `beta` is below 1.

    Example:
        >>> total_variation(1)
        total_variation(1)

    Mahendran and Vedaldi 2015, https://arxiv.org/abs/1412.0035
    """
    beta = checked("beta", beta, float, least=1)

    def at_pixels(picture: Tensor) -> Tensor:
        dx = F.pad(picture.diff(dim=3), (0, 1, 0, 0))
        dy = F.pad(picture.diff(dim=2), (0, 0, 0, 1))
        if beta == 2:
            return dx.square() + dy.square()
        # where both are 0, vector_norm has the gradient 0, while a square root has an infinite one
        lengths: Tensor = torch.linalg.vector_norm(torch.stack([dx, dy]), dim=0).pow(beta)
        return lengths

    def value(picture: Tensor) -> Tensor:
        return at_pixels(picture).flatten(1).mean(1)

    return PictureObjective(value, f"total_variation({beta:g})", at_pixels)


def l1(constant: float = 0.5) -> Objective:
    """The mean distance of the values from a constant: mean(|x − constant|).

    Args:
        constant: A gray level in [0, 1].

    Example:
        >>> l1()
        l1(0.5)
    """
    constant = checked("constant", constant, float)
    return PictureObjective(lambda picture: (picture - constant).abs().flatten(1).mean(1), f"l1({constant:g})")


def l2(constant: float = 0.5) -> Objective:
    """The mean squared distance of the values from a constant: mean((x − constant)²).

    Args:
        constant: A gray level in [0, 1].

    Example:
        >>> l2(0)
        l2(0)
    """
    constant = checked("constant", constant, float)
    return PictureObjective(lambda picture: (picture - constant).square().flatten(1).mean(1), f"l2({constant:g})")


def alpha_norm(alpha: float = 6, constant: float = 0.5) -> Objective:
    """The mean power of the distance from a constant: mean(|x − constant|^alpha). A high alpha penalizes extremes most.

    Args:
        alpha: The power, at least 1.
        constant: A gray level in [0, 1].

    Raises:
        NetLensError: `alpha` is below 1.

    Example:
        >>> alpha_norm()
        alpha_norm(6, 0.5)

    Mahendran and Vedaldi 2015, https://arxiv.org/abs/1412.0035
    """
    alpha, constant = checked("alpha", alpha, float, least=1), checked("constant", constant, float)

    def value(picture: Tensor) -> Tensor:
        return (picture - constant).abs().pow(alpha).flatten(1).mean(1)

    return PictureObjective(value, f"alpha_norm({alpha:g}, {constant:g})")


def blur(sigma: float = 1) -> Objective:
    """The mean squared difference between the picture and its blurred copy: mean((x − blurred x)²).

    Args:
        sigma: The standard deviation of the Gaussian in pixels, above 0.

    Raises:
        NetLensError: `sigma` is not above 0.

    Example:
        >>> blur(2)
        blur(2)
    """
    sigma = checked("sigma", sigma, float, above=0)
    return PictureObjective(
        lambda picture: (picture - _blurred(picture, sigma)).square().flatten(1).mean(1), f"blur({sigma:g})"
    )


def boundary(width: int = 20, constant: float = 0.5) -> Objective:
    """The mean squared distance of the frame of the picture from a constant: mean((x − constant)²) over the frame.

    Args:
        width: The width of the frame along each edge in pixels, at least 1.
        constant: A gray level in [0, 1].

    Raises:
        NetLensError: `width` is below 1.

    Example:
        >>> boundary(8)
        boundary(8, 0.5)
    """
    width, constant = checked("width", width, int, least=1), checked("constant", constant, float)

    def value(picture: Tensor) -> Tensor:
        height, across = picture.shape[2:]
        frame = torch.ones(height, across, dtype=torch.bool, device=picture.device)
        frame[width : height - width, width : across - width] = False
        return (picture[:, :, frame] - constant).square().flatten(1).mean(1)

    return PictureObjective(value, f"boundary({width}, {constant:g})")


def picture_of(record: Record) -> Tensor:
    """(N, C, H, W): the network's input with the normalization undone.

    If the input was made from a picture, the values lie in [0, 1]. Values are not clipped, so that values outside of
    [0, 1] have a gradient. If the input is gray and the preprocessing has three colors, the averages of the three means
    and deviations are used.
    """
    flat = record.flat
    x = record[flat.inputs[0]]
    if x.ndim != 4:
        raise NotApplicable(f"the input of {flat.name} is {tuple(x.shape)}, not pictures (N, C, H, W).")
    mean, std = (x.new_tensor(values) for values in (flat.adapter.preprocessing.mean, flat.adapter.preprocessing.std))
    if x.shape[1] == 1:
        mean, std = mean.mean(0, keepdim=True), std.mean(0, keepdim=True)
    if len(mean) not in (1, x.shape[1]):
        raise NotApplicable(
            f"the input of {flat.name} has {x.shape[1]} channels, but its preprocessing has {len(mean)}; "
            "give an Adapter(preprocessing=...) that fits."
        )
    return x * std[:, None, None] + mean[:, None, None]


def _blurred(picture: Tensor, sigma: float) -> Tensor:
    """The picture, convolved with a Gaussian. Outside of the picture, the pixels at its edge are repeated."""
    radius = math.ceil(3 * sigma)
    steps = torch.arange(-radius, radius + 1, dtype=picture.dtype, device=picture.device)
    kernel = torch.exp(-0.5 * (steps / sigma).square())
    kernel = kernel / kernel.sum()
    padded = F.pad(picture, (radius,) * 4, mode="replicate").flatten(0, 1)[:, None]
    across = F.conv2d(padded, kernel[None, None, None, :])
    return F.conv2d(across, kernel[None, None, :, None]).view_as(picture)

"""Heatmaps of raw attributions: their sign, their scale and their size. Pure functions of tensors.

Maps are (N,C,h,w), and heatmaps are (N,1,h,w); those of signals are (N,C,t), and those of volumes and clips
(N,C,d,h,w). Each sample is treated alone, so that a batch equals its samples one by one.

Example:
    >>> values = torch.tensor([[[[3.0, -1.0]], [[-2.0, 0.0]]]])  # one sample, two channels, 1 x 2 pixels
    >>> reduce(values, "absolute_value").tolist(), reduce(values, "all").tolist()
    ([[[[5.0, 1.0]]]], [[[[1.0, -1.0]]]])
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from netlens.errors import NetLensError, NonFiniteError
from netlens.options import checked

Sign = Literal["all", "positive", "negative", "absolute_value"]
Reduction = Literal["magnitude", "signed", "cam"]
Interpolation = Literal["linear", "nearest"]
Limits = tuple[Tensor, Tensor]
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
"""The linear interpolation of torch by the number of sides."""


class ResultError(NetLensError):
    """A result, its file, or an option of its drawing is wrong; the message says what is right."""


class HeatMapped(ABC):
    """Abstract: what can be drawn as a heatmap over an image, for N samples.

    The drawings in `netlens.show` read nothing else, so that they need not know what a result is.
    """

    image: Tensor | None
    """What is drawn over: images (N,C,H,W) or volumes (N,C,D,H,W) in [0,1], or signals (N,C,T); None for vectors."""
    reduction: Reduction

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def spatial(self) -> Tensor:
        """(N,C,*sides): the values over the image, at their own resolution; `NotApplicable` if they have none."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What made the values: the name of a method."""

    @abstractmethod
    def subject(self, sample: int) -> str:
        """What the values of this sample explain, in a few words."""


def reduce(maps: Tensor, sign: Sign = "absolute_value") -> Tensor:
    """(N,1,*sides): the sum of maps over their channels, of the values that have the sign.

    `absolute_value` is `positive` plus `negative`, and `all` is `positive` minus `negative`.

    Args:
        maps: (N,C,*sides), with one, two or three sides.
        sign: "all" sums v, "positive" max(0,v), "negative" max(0,-v) and "absolute_value" |v|.

    Raises:
        NonFiniteError: the maps hold NaN or Inf; the message names the samples.
    """
    checked("sign", sign, Sign, error=ResultError)
    if maps.ndim not in (3, 4, 5):
        raise ResultError(f"Maps are (N,C,h,w), or (N,C) and one or three sides, not {tuple(maps.shape)}.")
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))  # sums of half-precision channels overflow
    samples = (~torch.isfinite(maps)).flatten(1).any(dim=1).nonzero().flatten().tolist()
    if samples:
        raise NonFiniteError(f"NaN or Inf in the attribution of sample {', '.join(map(str, samples))}.")
    if sign == "positive":
        maps = maps.clamp(min=0)
    elif sign == "negative":
        maps = (-maps).clamp(min=0)
    elif sign == "absolute_value":
        maps = maps.abs()
    return maps.sum(dim=1, keepdim=True)


def resize(maps: Tensor, size: int | tuple[int, ...], interpolation: Interpolation = "linear") -> Tensor:
    """(N,C,H,W): maps, resized along each side.

    Corners are the corners of the picture, not the centers of its corner pixels (align_corners=False), so that each
    cell of a 7 x 7 map lies over the part of the image that it sees. Smaller maps are antialiased; those of signals and
    volumes are means. Maps of the right size are returned as they are.

    Args:
        maps: (N,C,h,w), or (N,C) and one or three sides.
        size: (height, width) in pixels, or one number for all sides.
        interpolation: "linear" between the values, or "nearest" for cells of one value.
    """
    size = checked("size", size, int | tuple[int, ...], least=1, error=ResultError)
    checked("interpolation", interpolation, Interpolation, error=ResultError)
    rank = maps.ndim - 2
    sides = (size,) * rank if isinstance(size, int) else size
    if len(sides) != rank:
        raise ResultError(
            f"size is {sides}, but must be one number, or {rank}: one for each side of the maps {tuple(maps.shape)}."
        )
    if maps.shape[2:] == sides:
        return maps
    if interpolation == "nearest":
        return F.interpolate(maps, sides, mode="nearest-exact")
    shrinks = any(new < old for new, old in zip(sides, maps.shape[2:], strict=True))
    if rank == 2:
        return F.interpolate(maps, sides, mode="bilinear", align_corners=False, antialias=shrinks)
    smaller = tuple(min(new, old) for new, old in zip(sides, maps.shape[2:], strict=True))
    maps = F.interpolate(maps, smaller, mode="area") if shrinks else maps
    return F.interpolate(maps, sides, mode=LINEAR[rank], align_corners=False)


def percentile(heat: Tensor, q: float) -> Tensor:
    """(N,1,...): the `q`-th percentile of each sample, from 0 to 100, linear between neighbors.

    Example:
        >>> percentile(torch.tensor([[[[0.0, 10.0, 20.0]]]]), 75).item()
        15.0
    """
    q = checked("the percentile", q, float, least=0, most=100, error=ResultError)
    ordered = heat.flatten(1).sort(dim=1).values  # torch.quantile refuses more than 16 million values
    position = q / 100 * (ordered.shape[1] - 1)
    below = int(position)
    above = min(below + 1, ordered.shape[1] - 1)
    return _column(torch.lerp(ordered[:, below], ordered[:, above], position - below), heat)


def limits(heat: Tensor, q: float = 99) -> Limits:
    """The minimum and the `q`-th percentile of each sample, each (N,1,...).

    Where both are equal, as in a map with a single bright pixel, the maximum replaces the percentile: the bright pixel
    is the signal, not an outlier.
    """
    low, high = _column(heat.flatten(1).amin(1), heat), percentile(heat, q)
    return low, torch.where(high > low, high, _column(heat.flatten(1).amax(1), heat))


def bound(heat: Tensor, q: float = 99) -> Tensor:
    """(N,1,...): the `q`-th percentile of each sample's magnitudes, or the maximum where the percentile is 0."""
    magnitudes = heat.abs()
    high = percentile(magnitudes, q)
    return torch.where(high > 0, high, _column(magnitudes.flatten(1).amax(1), heat))


def _column(numbers: Tensor, like: Tensor) -> Tensor:
    """(N,1,...): one number per sample, in a shape that broadcasts to `like`."""
    return numbers.view(-1, *[1] * (like.ndim - 1))


def rescale(heat: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Map [low, high] to [0, 1] and clip: (v − low) / (high − low). A constant map becomes zeros.

    Example:
        >>> heat = torch.tensor([[[[2.0, 4.0, 3.0]]], [[[7.0, 7.0, 7.0]]]])
        >>> rescale(heat, *limits(heat, 100)).flatten(1).tolist()
        [[0.0, 1.0, 0.5], [0.0, 0.0, 0.0]]
    """
    span = high - low
    # a constant map that was resized has rounding noise, which must not become a picture
    noise = 16 * torch.finfo(heat.dtype).eps * torch.maximum(low.abs(), high.abs())
    constant = span <= noise
    return ((heat - low) / span.masked_fill(constant, 1)).clamp(0, 1).masked_fill(constant, 0)


def normalize(heat: Tensor, q: float = 99) -> Tensor:
    """Scale each sample to [0, 1]: its minimum becomes 0, and its `q`-th percentile becomes 1.

    Example:
        >>> normalize(torch.tensor([[[[1.0, 2.0, 5.0]]]]), q=100).flatten().tolist()
        [0.0, 0.25, 1.0]
    """
    return rescale(heat, *limits(heat, q))


def rescale_signed(heat: Tensor, bound: Tensor) -> Tensor:
    """Map [-bound, bound] to [-1, 1] and clip: v / bound. Zero stays zero."""
    return (heat / bound.masked_fill(bound == 0, 1)).clamp(-1, 1)


def normalize_signed(heat: Tensor, q: float = 99) -> Tensor:
    """Scale each sample to [-1, 1] by one factor, the `q`-th percentile of its magnitudes.

    Example:
        >>> normalize_signed(torch.tensor([[[[-4.0, 0.0, 2.0]]]]), q=100).flatten().tolist()
        [-1.0, 0.0, 0.5]
    """
    return rescale_signed(heat, bound(heat, q))


def part(values: Tensor, sign: Literal["positive", "negative"]) -> Tensor:
    """(N,...): the values of one sign, scaled to [0, 1] per sample: max(0,v)/max v, or max(0,-v)/max(-v).

    A sample without values of that sign becomes zeros.

    Example:
        >>> part(torch.tensor([[4.0, -8.0, 2.0]]), "positive").tolist()
        [[1.0, 0.0, 0.5]]
    """
    magnitudes = (values if sign == "positive" else -values).clamp(min=0)
    largest = magnitudes.reshape(len(magnitudes), -1).amax(dim=1).reshape(-1, *[1] * (values.ndim - 1))
    return magnitudes / largest.masked_fill(largest == 0, 1)

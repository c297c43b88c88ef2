"""Overlay: one attribution as pixels, with or over the image that it explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from netlens import heatmaps
from netlens.errors import NotApplicable
from netlens.heatmaps import HeatMapped, Limits, Reduction, ResultError, Sign, choose

Style = Literal["heat_map", "blended_heat_map", "masked_image", "alpha_scaling"]
Pixels = NDArray[np.uint8]  # (N,H,W,4)

# fine-grained maps drown in the photo below them; coarse ones say nothing without it
STYLES: dict[Reduction, Style] = {"magnitude": "heat_map", "signed": "blended_heat_map", "cam": "blended_heat_map"}
SEQUENTIAL, OVER_PHOTO, DIVERGING = "inferno", "turbo", "bwr"
SMALLEST, LARGEST = 400, 1024  # of the longer side, in drawn pixels
PIXEL_ART = 64  # images up to this size are drawn as the squares they are; a photo is interpolated


@dataclass(frozen=True)
class Look:
    """How to draw an attribution; what is None follows from its `reduction`. Names are captum's.

    `outlier_perc`: the percentage of pixels that may saturate, so 100 less the percentile of `Attribution.heatmap`,
    whose default it shares. `alpha`: the strength of the heat map over the photo, 0 to 1.
    """

    style: Style | None = None
    sign: Sign | None = None
    cmap: str | None = None
    outlier_perc: float | None = None
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.style is not None:
            choose("style", self.style, Style)
        if self.sign is not None:
            choose("sign", self.sign, Sign)
        object.__setattr__(self, "cmap", getattr(self.cmap, "name", self.cmap))  # that of a Colormap
        if self.cmap is not None and (not isinstance(self.cmap, str) or self.cmap not in mpl.colormaps):
            raise ResultError(f"matplotlib has no color map {self.cmap!r}; see matplotlib.colormaps.")


class Heat:
    """The heat of one attribution under a look: raw at the size of the image, with the limits of its colors."""

    def __init__(self, attribution: HeatMapped, look: Look) -> None:
        reduction = attribution.reduction
        if attribution.image is None:
            raise NotApplicable(
                f"{attribution.title} explained an input that is no image, so there is nothing to draw; "
                "read .values or .heatmap()."
            )
        self.image, self.alpha = attribution.image, look.alpha
        height, width = self.image.shape[-2:]
        self.style = STYLES[reduction] if look.style is None else look.style
        self.sign = _sign(reduction, self.style) if look.sign is None else look.sign
        # a CAM's zero means nothing in particular, unless one asks for its signs
        self.diverging = self.sign == "all" and not (reduction == "cam" and look.sign is None)
        maps = attribution.spatial.detach().cpu()
        self.coarse = maps.shape[-2] < height or maps.shape[-1] < width
        self.raw = heatmaps.resize(heatmaps.reduce(maps, self.sign), (height, width))
        outliers = (0 if reduction == "cam" else 1) if look.outlier_perc is None else look.outlier_perc
        self.low, self.high = self._limits(100 - outliers)
        over_photo = OVER_PHOTO if self.style == "blended_heat_map" else SEQUENTIAL
        self.cmap = (DIVERGING if self.diverging else over_photo) if look.cmap is None else look.cmap

    def _limits(self, q: float) -> Limits:
        if not self.diverging and self.sign in ("all", "absolute_value"):
            return heatmaps.limits(self.raw, q)
        bound = heatmaps.bound(self.raw, q)
        return (-bound if self.diverging else torch.zeros_like(bound)), bound

    def pixels(self) -> Pixels:
        """(N,H',W',4), as large as `enlarge` makes them."""
        unit = enlarge(self.unit, "bilinear" if self.coarse else "nearest")
        strength = unit.abs()
        photo, opacity = _photo(self.image), torch.ones_like(strength)
        if self.style == "masked_image":
            return _rgba(photo * strength, opacity)
        if self.style == "alpha_scaling":
            return _rgba(photo, strength)
        colors = mpl.colormaps[self.cmap]((unit / 2 + 0.5 if self.diverging else unit)[:, 0].numpy())
        color = torch.from_numpy(colors[..., :3]).permute(0, 3, 1, 2)
        if self.style == "heat_map":
            return _rgba(color, opacity)
        if self.diverging:
            photo, weight = _pale(photo), 0.8 * strength.sqrt()
        else:
            weight = 0.25 + 0.4 * strength
        return _rgba(photo + self.alpha * weight * (color - photo), opacity)

    @property
    def colored(self) -> bool:
        """Whether the heat shows as colors of a map, which a color bar can explain."""
        return self.style in ("heat_map", "blended_heat_map")

    def labels(self, sample: int) -> list[str]:
        """The raw values at the ends of the color bar, and zero where it is the middle."""
        low, high = (f"{limit[sample].item():.2g}".replace("-", "−") for limit in (self.low, self.high))
        return [low, "0", high] if self.diverging else [low, high]

    @property
    def unit(self) -> Tensor:
        """(N,1,H,W) in [0,1], or in [-1,1] if diverging."""
        if self.diverging:
            return heatmaps.rescale_signed(self.raw, self.high)
        return heatmaps.rescale(self.raw, self.low, self.high)


def _sign(reduction: Reduction, style: Style) -> Sign:
    if reduction == "magnitude":
        return "absolute_value"
    # a mask shows what counts; of what counts for and what counts against, it can show but one
    return "positive" if reduction == "signed" and style in ("masked_image", "alpha_scaling") else "all"


def share(heats: Sequence[Heat]) -> None:
    """Give all heats one scale, from the least to the greatest of their limits, so that a color is a raw value."""
    high = torch.stack([heat.high.max() for heat in heats]).max()
    lows = [heat.low.min() for heat in heats if not heat.diverging]
    for heat in heats:
        heat.high = high.expand_as(heat.high)
        heat.low = -heat.high if heat.diverging else torch.stack(lows).min().expand_as(heat.low)


def overlay(attribution: HeatMapped, look: Look | None = None) -> Pixels:
    """Draw every sample to (N,H',W',4) pixels: the image, enlarged by a whole number if it is small, and its heat."""
    return Heat(attribution, Look() if look is None else look).pixels()


def photograph(image: Tensor) -> Pixels:
    """The (N,C,H,W) images themselves, at the size of their overlays."""
    photo = _photo(image)
    return _rgba(photo, torch.ones_like(photo[:, :1]))


def enlarge(maps: Tensor, mode: Literal["nearest", "bilinear", "bicubic"]) -> Tensor:
    """(N,C,H,W) to a size fit for a screen: times a whole number, so that every pixel keeps its exact place.

    Images larger than that shrink; very small ones stay the squares that they are.
    """
    height, width = maps.shape[-2:]
    side = max(height, width)
    if side > LARGEST:
        return heatmaps.resize(maps, (max(height * LARGEST // side, 1), max(width * LARGEST // side, 1)))
    times = -(-SMALLEST // side)
    if mode == "nearest" or side <= PIXEL_ART:
        return maps.repeat_interleave(times, dim=-2).repeat_interleave(times, dim=-1)
    return F.interpolate(maps, (height * times, width * times), mode=mode, align_corners=False)


def _photo(image: Tensor) -> Tensor:
    """Images as (N,3,H',W') in [0,1]."""
    image = image.detach().cpu().to(torch.float32)
    if image.shape[1] != 3:  # gray; or neither gray nor color (satellite bands), whose mean shows what is where
        image = image.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    return enlarge(image, "bicubic").clamp(0, 1)


def _pale(photo: Tensor) -> Tensor:
    """A photo as a light gray backdrop, on which both colors of a diverging map stand out."""
    return (0.5 + 0.5 * photo.mean(dim=1, keepdim=True)).expand_as(photo)


def _rgba(rgb: Tensor, opacity: Tensor) -> Pixels:
    pixels = torch.cat([rgb, opacity.to(rgb.dtype)], dim=1).clamp(0, 1).mul(255).round()
    return pixels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()

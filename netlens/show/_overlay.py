"""Overlay: an attribution as pixels, alone or over the image that it explains."""

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
from netlens.heatmaps import HeatMapped, Interpolation, Limits, Reduction, ResultError, Sign
from netlens.options import check, option
from netlens.show._curve import curve
from netlens.show._strip import FRAME, chosen_frames, frames_of, strips

Style = Literal["heat_map", "blended_heat_map", "masked_image", "alpha_scaling"]
Pixels = NDArray[np.uint8]  # (N,H,W,4)

# a photo hides fine maps that lie over it; coarse maps need the photo
STYLES: dict[Reduction, Style] = {"magnitude": "heat_map", "signed": "blended_heat_map", "cam": "blended_heat_map"}
SEQUENTIAL, OVER_PHOTO, DIVERGING, BEHIND_CURVE = "inferno", "turbo", "bwr", "Reds"
SMALLEST, LARGEST = 400, 1024  # bounds of the longer side, in drawn pixels
PIXEL_ART = 64  # images up to this size are drawn with square pixels; larger ones are interpolated


@dataclass(frozen=True)
class Look:
    """How to draw an attribution. Options that are None follow from its `reduction`. The names are captum's.

    `sign` chooses values as in `heatmaps.reduce`. `Attribution.heatmap` takes 100 minus `outlier_perc`. A color map
    itself also serves as `cmap`.
    """

    style: Style | None = option(None, help="The heatmap alone, over the photo, or as what masks or fades the photo.")
    sign: Sign | None = option(None, help="Which values count: all with their sign, those of one sign, or magnitudes.")
    cmap: str | None = option(None, help="The name of a color map of matplotlib.")
    outlier_perc: float | None = option(None, least=0, most=100, help="The percentage of pixels that saturate.")
    interpolation: Interpolation = option(
        "linear", help="Between the values of a coarse map, or nearest for its cells."
    )
    alpha: float = option(1.0, least=0, most=1, help="The strength of the heatmap over the photo.")
    bands: Sequence[int] | None = option(
        None, least=0, help="The bands that are drawn: one in gray, or three as red, green and blue; none for the mean."
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "cmap", getattr(self.cmap, "name", self.cmap))  # a Colormap is stored by name
        check(self, ResultError)
        if self.cmap is not None and self.cmap not in mpl.colormaps:
            raise ResultError(f"matplotlib has no color map {self.cmap!r}; see matplotlib.colormaps.")
        if self.bands is not None and len(self.bands) not in (1, 3):
            raise ResultError(f"bands has {len(self.bands)} numbers; give one, or three for red, green and blue.")


class Heat:
    """An attribution drawn by a `Look`: a raw heatmap at the size of the image, and the limits of its colors."""

    def __init__(self, attribution: HeatMapped, look: Look) -> None:
        reduction = attribution.reduction
        if attribution.image is None:
            raise NotApplicable(
                f"the input that {attribution.title} explained is no image, so there is nothing to draw; "
                "read .values or .heatmap()."
            )
        self.image, self.alpha, self.bands = attribution.image, look.alpha, look.bands
        size = tuple(self.image.shape[2:])
        self.rank = len(size)
        if self.rank == 1 and look.style is not None:
            raise ResultError(f"a signal is drawn as a curve, so it has no style {look.style!r}; leave style out.")
        if self.bands is not None and max(self.bands) >= self.image.shape[1]:
            raise ResultError(
                f"bands names {max(self.bands)}, but the input has the bands 0 to {self.image.shape[1] - 1}."
            )
        self.style, self.sign, self.diverging = _ways(reduction, look)
        maps = attribution.spatial.detach().cpu()
        coarse = any(side < whole for side, whole in zip(maps.shape[2:], size, strict=True))
        self.smooth = coarse and look.interpolation == "linear"
        self.raw = heatmaps.resize(heatmaps.reduce(maps, self.sign), size, look.interpolation)
        outliers = (0 if reduction == "cam" else 1) if look.outlier_perc is None else look.outlier_perc
        self.low, self.high = self._limits(100 - outliers)
        over_photo = OVER_PHOTO if self.style == "blended_heat_map" else SEQUENTIAL
        over_photo = BEHIND_CURVE if self.rank == 1 else over_photo
        self.cmap = (DIVERGING if self.diverging else over_photo) if look.cmap is None else look.cmap

    def _limits(self, q: float) -> Limits:
        if not self.diverging and self.sign in ("all", "absolute_value"):
            return heatmaps.limits(self.raw, q)
        bound = heatmaps.bound(self.raw, q)
        return (-bound if self.diverging else torch.zeros_like(bound)), bound

    def pixels(self, smallest: int = SMALLEST) -> Pixels:
        """(N,H',W',4): the drawing of each sample, enlarged by `enlarge`; signals as curves, volumes as strips."""
        if self.rank == 1:
            return np.stack([self._curve(sample) for sample in range(len(self.image))])
        if self.rank == 3:
            frames = chosen_frames(self.image.shape[2])
            return strips(self.frames(frames), len(frames))
        return self._drawn(self.image, self.unit, smallest)

    def frames(self, frames: list[int]) -> Pixels:
        """(N * frames,H',W',4): these slices of each sample."""
        return self._drawn(frames_of(self.image, frames), frames_of(self.unit, frames), FRAME)

    def _curve(self, sample: int) -> Pixels:
        signal = self.image[sample].detach().cpu()
        signal = signal if self.bands is None else signal[list(self.bands)]
        raw, unit = self.raw[sample, 0], self.unit[sample, 0]
        return curve(signal, raw, unit, self.cmap, self.diverging, self.alpha)

    def _drawn(self, image: Tensor, unit: Tensor, smallest: int) -> Pixels:
        unit = enlarge(unit, "bilinear" if self.smooth else "nearest", smallest)
        strength = unit.abs()
        photo, opacity = _photo(image, self.bands, smallest), torch.ones_like(strength)
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
        """Whether the drawing uses a color map, which a color bar can explain."""
        return self.style in ("heat_map", "blended_heat_map")

    def labels(self, sample: int) -> list[str]:
        """The raw values at the ends of the color bar, and at its middle if that is zero."""
        low, high = (f"{limit[sample].item():.2g}".replace("-", "−") for limit in (self.low, self.high))
        return [low, "0", high] if self.diverging else [low, high]

    @property
    def unit(self) -> Tensor:
        """(N,1,H,W) in [0,1], or in [-1,1] if diverging."""
        if self.diverging:
            return heatmaps.rescale_signed(self.raw, self.high)
        return heatmaps.rescale(self.raw, self.low, self.high)


def _ways(reduction: Reduction, look: Look) -> tuple[Style, Sign, bool]:
    """The style and the sign of a drawing, and whether its colors tell signs apart."""
    style = STYLES[reduction] if look.style is None else look.style
    sign = _sign(reduction, style) if look.sign is None else look.sign
    # the zero of a class activation map has no meaning, unless the look asks for signs
    return style, sign, sign == "all" and not (reduction == "cam" and look.sign is None)


def tells_signs(attribution: HeatMapped, look: Look | None = None) -> bool:
    """Whether an overlay of this attribution has values above 0 in red, and those below in blue."""
    return _ways(attribution.reduction, Look() if look is None else look)[2]


def _sign(reduction: Reduction, style: Style) -> Sign:
    if reduction == "magnitude":
        return "absolute_value"
    # a mask can show only one sign
    return "positive" if reduction == "signed" and style in ("masked_image", "alpha_scaling") else "all"


def share(heats: Sequence[Heat]) -> None:
    """Give all heatmaps the same limits, so that a color is the same raw value in each of them."""
    high = torch.stack([heat.high.max() for heat in heats]).max()
    lows = [heat.low.min() for heat in heats if not heat.diverging]
    for heat in heats:
        heat.high = high.expand_as(heat.high)
        heat.low = -heat.high if heat.diverging else torch.stack(lows).min().expand_as(heat.low)


def overlay(attribution: HeatMapped, look: Look | None = None, smallest: int = SMALLEST) -> Pixels:
    """(N,H',W',4): each sample as pixels. Images whose longer side is below `smallest` grow by a whole number."""
    return Heat(attribution, Look() if look is None else look).pixels(smallest)


def photograph(image: Tensor, bands: Sequence[int] | None = None) -> Pixels:
    """(N,H',W',4): the images (N,C,H,W), at the size of their overlays; volumes (N,C,D,H,W) as strips."""
    if image.ndim == 5:
        frames = chosen_frames(image.shape[2])
        return strips(photographed_frames(image, frames, bands), len(frames))
    photo = _photo(image, bands)
    return _rgba(photo, torch.ones_like(photo[:, :1]))


def photographed_frames(image: Tensor, frames: list[int], bands: Sequence[int] | None = None) -> Pixels:
    """(N * frames,H',W',4): these slices of volumes (N,C,D,H,W)."""
    photo = _photo(frames_of(image, frames), bands, FRAME)
    return _rgba(photo, torch.ones_like(photo[:, :1]))


def enlarge(maps: Tensor, mode: Literal["nearest", "bilinear", "bicubic"], smallest: int = SMALLEST) -> Tensor:
    """Maps (N,C,H,W) at a size for a screen: enlarged by a whole number, so that every pixel keeps its exact position.

    Images larger than the screen shrink. Very small images keep square pixels.
    """
    height, width = maps.shape[-2:]
    side = max(height, width)
    if side > LARGEST:
        return heatmaps.resize(maps, (max(height * LARGEST // side, 1), max(width * LARGEST // side, 1)))
    times = -(-smallest // side)
    if mode == "nearest" or side <= PIXEL_ART:
        return maps.repeat_interleave(times, dim=-2).repeat_interleave(times, dim=-1)
    return F.interpolate(maps, (height * times, width * times), mode=mode, align_corners=False)


def _photo(image: Tensor, bands: Sequence[int] | None = None, smallest: int = SMALLEST) -> Tensor:
    """Images as (N,3,H',W') in [0,1], from these bands."""
    image = image.detach().cpu().to(torch.float32)
    image = image if bands is None else image[:, list(bands)]
    if image.shape[1] != 3:  # gray images; or other bands (satellites), whose mean shows where things are
        image = image.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    return enlarge(image, "bicubic", smallest).clamp(0, 1)


def _pale(photo: Tensor) -> Tensor:
    """A photo as a light gray background, on which both colors of a diverging map are visible."""
    return (0.5 + 0.5 * photo.mean(dim=1, keepdim=True)).expand_as(photo)


def _rgba(rgb: Tensor, opacity: Tensor) -> Pixels:
    pixels = torch.cat([rgb, opacity.to(rgb.dtype)], dim=1).clamp(0, 1).mul(255).round()
    return pixels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()

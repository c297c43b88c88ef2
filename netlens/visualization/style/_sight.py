"""Pictures for style transfer: how they are read and resized, masks, and the input of the network."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netlens.errors import ImageError, NetLensError, NetLensWarning
from netlens.flat import FlatModel
from netlens.flat.keys import OUTPUT
from netlens.images import MAX_PIXELS
from netlens.objectives import Objective, Record
from netlens.visualization._tiled_judge import judge_of_large
from netlens.visualization.params import pictures_of
from netlens.visualization.params.color import gray
from netlens.visualization.picture import network_input
from netlens.visualization.transforms import Chain

SMALLEST = 16  # pixels; in a smaller picture, no layer has a meaningful statistic


@dataclass(frozen=True)
class Sight:
    """Turns pictures into the input of a network that runs up to `layers`, at their own size if possible."""

    flat: FlatModel
    layers: tuple[str, ...] = (OUTPUT,)
    tile: int | None = None  # the network runs on tiles of this side, if a picture is larger

    def __call__(self, pictures: Tensor) -> Tensor:
        """The network's input for pictures (N, C, H, W) in [0, 1]: normalized, with the network's device and type."""
        extent = pictures.shape[2], pictures.shape[3]
        reading = _Reading(self.layers)
        if self.tile is None or max(extent) <= self.tile:
            return network_input(self.flat, reading, pictures)
        return judge_of_large(self.flat, reading, Chain(), extent, self.tile).plain_input(pictures)


@dataclass(frozen=True)
class _Reading(Objective):
    """An objective that only names layers, so that a judge runs the network up to these layers."""

    names: tuple[str, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        return self.names

    def __call__(self, record: Record) -> Tensor:
        return torch.zeros(len(record[self.names[0]]))


def picture(source: Any, name: str) -> Tensor:
    """(1, C, H, W) in [0, 1], float64: a picture from any source of `images.load`, or from a tensor (C, H, W).

    `name` is the name of the picture in errors.
    """
    try:
        pictures = pictures_of(source)
    except NetLensError as error:
        raise type(error)(f"{name}: {error}") from error
    if len(pictures) != 1:
        raise ImageError(f"{name} must be one picture, not {len(pictures)}.")
    return pictures


def extent(size_of_picture: Sequence[int], size: int | tuple[int, int] | None, name: str) -> tuple[int, int]:
    """The height and width of a resized picture.

    `size` is the longer side, or (height, width), or None for no change. `name` is the picture's name in errors.
    """
    height, width = size_of_picture
    if size is None:
        sides = height, width
    elif not isinstance(size, (tuple, list)):
        longest = max(height, width)
        sides = max(1, round(height * size / longest)), max(1, round(width * size / longest))
    else:
        sides = size[0], size[1]
    if min(sides) < SMALLEST:
        raise ImageError(
            f"{name} would be {sides[0]} × {sides[1]}, but both sides must be at least {SMALLEST}: give a larger size "
            "or style_scale."
        )
    if sides[0] * sides[1] > MAX_PIXELS:
        raise ImageError(f"{name} would have more than {MAX_PIXELS:,} pixels; give a smaller size or style_scale.")
    return sides


def style_side(content: Sequence[int], scale: float) -> int:
    """The longer side of a style picture, for a content of this height and width."""
    return round(min(max(content) * scale, MAX_PIXELS))  # the bound also prevents infinity


def mask_of(source: Any, name: str) -> Tensor:
    """The weights (H, W) of a mask: a tensor or array (H, W), or a picture in which white has the weight 1."""
    if isinstance(source, (Tensor, np.ndarray)) and source.ndim == 2:
        weights = torch.as_tensor(source).double().cpu()
    else:
        weights = gray(picture(source, name))[0, 0]
        if 0 < weights.max() < 0.1:
            lightest = f"{255 * float(weights.max()):.0f} of 255"
            warnings.warn(
                f"{name} is nearly black, {lightest} at most; white parts count.", NetLensWarning, stacklevel=2
            )
    if not weights.isfinite().all() or weights.min() < 0 or not weights.any():
        raise ImageError(f"{name} must hold finite weights of at least 0; at least one must be above 0.")
    return weights

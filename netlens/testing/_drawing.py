"""Tiles of claims: images and maps, with the border of the region that the claim is about."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from netlens.errors import NotApplicable
from netlens.results import Attribution
from netlens.show import Look, Tile, outlined, overlay, photograph


def image_tile(image: Tensor | None, i: int, title: str, note: str = "", region: Tensor | None = None) -> Tile:
    """One of some images.

    Args:
        image: (N, C, H, W) in [0, 1]; None if the input is no picture.
        i: Which one.
        title: The line above it.
        note: A smaller line.
        region: (N, H, W), bool: what gets an outline; None for no outline.

    Raises:
        NotApplicable: The input is no picture.
    """
    if image is None or image.ndim not in (4, 5):
        raise NotApplicable("the input is no picture.")
    return Tile(_outlined(photograph(image[i : i + 1].detach().cpu())[0], i, region), title, note)


def map_tile(attribution: Attribution, i: int, title: str, note: str = "", region: Tensor | None = None) -> Tile:
    """The map of one image, over this image if the map is coarse.

    Raises:
        NotApplicable: The attribution has no layout over the image, or the input is no picture.
    """
    return Tile(_outlined(overlay(attribution[i], Look())[0], i, region), title, note)


def _outlined(pixels: np.ndarray, i: int, region: Tensor | None) -> np.ndarray:
    return pixels if region is None else outlined(pixels, region[i].cpu())

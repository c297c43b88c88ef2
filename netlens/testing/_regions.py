"""Regions: masks in any form, as (N, H, W) of bool over the input of the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from netlens.errors import NetLensError, NotApplicable
from netlens.lens import NetLens
from netlens.masks import mask_of
from netlens.options import checked


def regions_of(lens: NetLens, region: Any, name: str) -> Tensor:
    """(N, H, W), bool: a region for each image of a lens.

    Args:
        lens: The lens.
        region: An array or tensor (H, W) for all images, or (N, H, W): bool, or of two numbers, one of which is 0. Or
            a file or a picture that is white on the region, or a list of these: it is cut and resized as images are.
        name: The argument's name, for errors.

    Raises:
        NotApplicable: The input of the network is no picture.
        NetLensError: The region has other sides than the input, is empty, or holds more than two numbers.
    """
    checked("lens", lens, NetLens, hint="make it by NetLens(network, images)")
    if lens.x.ndim != 4:
        raise NotApplicable(f"{name} is a region of a picture; the input of {lens.flat.name} is {tuple(lens.x.shape)}.")
    n, height, width = len(lens.x), *lens.x.shape[2:]
    masks = _read(lens, region, name)
    masks = masks[None] if masks.ndim == 2 else masks
    if masks.ndim != 3 or tuple(masks.shape[1:]) != (height, width) or len(masks) not in (1, n):
        raise NetLensError(
            f"{name} is {tuple(masks.shape)}, but the input of {lens.flat.name} is {n} x {height} x {width}; give "
            f"({height}, {width}), one of these for each image, or pictures, which are cut and resized as images are."
        )
    masks = masks.expand(n, height, width).cpu()
    empty = [i for i in range(n) if not masks[i].any()]
    if empty:
        raise NetLensError(f"{name} is empty for image {empty[0]}, so it claims nothing; leave this image out.")
    return masks


def _read(lens: NetLens, region: Any, name: str) -> Tensor:
    if isinstance(region, str | Path | Image.Image):
        return mask_of(region, lens.flat.adapter.preprocessing)
    if isinstance(region, list | tuple) and region and all(isinstance(r, str | Path | Image.Image) for r in region):
        return torch.stack([mask_of(one, lens.flat.adapter.preprocessing) for one in region])
    if isinstance(region, list | tuple) and region:
        region = torch.stack([torch.as_tensor(np.asarray(one)) for one in region])
    numbers: Tensor = region if isinstance(region, Tensor) else torch.as_tensor(np.asarray(region))
    if numbers.dtype != torch.bool and numbers[numbers != 0].unique().numel() > 1:
        raise NetLensError(f"{name} holds more numbers than 0 and another one; say where it begins: {name} > 0.5.")
    return numbers != 0

"""An image as a picture in [0, 1], and as the input of a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from netlens.errors import ImageError, NetLensError
from netlens.flat import FlatModel
from netlens.flat.intake import weight_of
from netlens.objectives import Objective
from netlens.options import checked
from netlens.visualization._judge import Judge, channels_of
from netlens.visualization.params import extent_of, pictures_of, resampled
from netlens.visualization.transforms import Chain


def picture_for(flat: FlatModel, image: Any, size: int | None = None) -> Tensor:
    """An image as a picture (1, C, H, W) in [0, 1], with the type, device and channels that a network reads.

    Args:
        flat: The network.
        image: A path, a PIL image, an array, or a tensor (C, H, W) in [0, 1].
        size: The longer side in pixels; None keeps the image's size.
    """
    checked("the network", flat, FlatModel, hint="make it by FlatModel.from_nn_Module")
    pictures = pictures_of(image, channels_of(flat))
    if pictures.shape[1] != channels_of(flat):
        raise ImageError(f"{flat.name} takes pictures of {channels_of(flat)} channels, not of {pictures.shape[1]}.")
    if len(pictures) != 1:
        raise NetLensError(f"give one image, not {len(pictures)}.")
    if size is not None:
        size = checked("a size of the longer side, in pixels,", size, int, least=1)
        height, width = pictures.shape[2:]
        longest = max(height, width)
        rows, columns = (max(1, (2 * size * side + longest) // (2 * longest)) for side in (height, width))
        pictures = resampled(pictures, extent_of((rows, columns)))
    weights = weight_of(flat, torch.empty(0))
    return pictures.to(weights.device, torch.float64 if weights.dtype == torch.float64 else torch.float32)


def network_input(flat: FlatModel, objective: Objective, pictures: Tensor) -> Tensor:
    """The input of a network for pictures (N, C, H, W) in [0, 1], as far as an objective reads it."""
    return Judge.of(flat, objective, Chain(), (pictures.shape[2], pictures.shape[3])).plain_input(pictures)


def expected_size(flat: FlatModel) -> int:
    """The longer side of the input that a network expects, in pixels; 224 if it takes any size."""
    size = flat.adapter.preprocessing.size
    return 224 if size is None else max(size)

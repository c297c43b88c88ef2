"""The explained inputs as they are drawn: signals, images in any number of bands, volumes and clips."""

from __future__ import annotations

import torch
from torch import Tensor

from netlens.attribution._positions import channels_first, has_maps
from netlens.attribution.batch import are_copies
from netlens.flat import FlatModel
from netlens.flat.bundle import layout_at, parts_of


def picture(flat: FlatModel, x: Tensor, key: str | None = None) -> Tensor | None:
    """The explained inputs (N, C, *sides), channels first. None if the input has no positions, as a vector.

    Images, volumes and clips are in [0, 1]: without their preprocessing where its channels fit, else each sample is
    scaled from its minimum to its maximum. Signals keep their values.

    Args:
        flat: The network.
        x: The batch (N, ...) that it takes.
        key: The input of a bundle that is explained; None, or another key, for the first one that can be drawn.
    """
    parts = parts_of(flat)
    if parts:
        keys = [key] if key in parts else list(parts)
        images = (drawn(flat, name, parts[name](x)) for name in keys if name is not None)
        return next((image for image in images if image is not None), None)
    return drawn(flat, flat.inputs[0], x)


def drawn(flat: FlatModel, key: str, x: Tensor) -> Tensor | None:
    """The picture of the values x (N, ...) of the input `key`."""
    if not x.is_floating_point() or not has_maps(flat, key, x):
        return None
    if are_copies(x):
        first = drawn(flat, key, x[:1])
        return None if first is None else first.expand(len(x), *first.shape[1:])
    layout = layout_at(flat, key, x)
    image = channels_first(x.detach().float(), layout.positions)
    if layout.rank == 1:
        return image
    preprocessing = flat.adapter.preprocessing
    if image.shape[1] in (1, 3) and image.shape[1] == len(preprocessing.mean):
        return preprocessing.denormalize(image.movedim(1, -3)).movedim(-3, 1).clamp(0, 1)
    low, high = (bound(image.flatten(1), 1).view(-1, *[1] * (image.ndim - 1)) for bound in (torch.amin, torch.amax))
    return (image - low) / (high - low).clamp(min=torch.finfo(image.dtype).tiny)

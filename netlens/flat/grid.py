"""Activations as maps over the image."""

from __future__ import annotations

from torch import Tensor

from netlens.errors import NotApplicable
from netlens.flat.model import FlatModel


def grid_of(flat: FlatModel, key: str, activation: Tensor) -> Tensor:
    """An activation as maps (N, C, h, w) over the image: by the adapter's grid, else the activation itself if 4-d."""
    grid = flat.adapter.grid
    what = type(activation).__name__
    if isinstance(activation, Tensor):
        maps = grid(flat, key, activation) if grid is not None else activation
        if maps is not None and maps.ndim == 4:
            return maps
        what = f"shape {tuple(activation.shape)}"
    raise NotApplicable(
        f"layer {key!r} of {flat.name} has activations of {what}, which no adapter lays out over the image; "
        "choose a layer with maps (N, C, h, w), or give an Adapter(grid=...)."
    )

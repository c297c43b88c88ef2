"""Activations as maps over the image."""

from __future__ import annotations

from torch import Tensor

from netlens.errors import NotApplicable
from netlens.flat._model import FlatModel


def grid_of(flat: FlatModel, key: str, activation: Tensor) -> Tensor:
    """Lay out an activation as maps over the image.

    Args:
        flat: The flat model. The `grid` of its adapter makes the maps; without one, an activation of 4 dimensions
            counts as maps.
        key: The key of the layer.
        activation: The activation of the layer.

    Returns:
        Maps (N, C, h, w).

    Raises:
        NotApplicable: The activation has no layout over the image.
    """
    grid = flat.adapter.grid
    kind = f"type {type(activation).__name__}"
    if isinstance(activation, Tensor):
        maps = grid(flat, key, activation) if grid is not None else activation
        if maps is not None and maps.ndim == 4:
            return maps
        kind = f"shape {tuple(activation.shape)}"
    raise NotApplicable(
        f"layer {key!r} of {flat.name} has activations of {kind}, which no adapter lays out over the image; "
        "choose a layer whose activations are maps (N, C, h, w), or give an Adapter(grid=...)."
    )

"""The positions of an activation: the dimensions of time and space, over which windows slide and masks lie."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.bundle import is_input, layout_at
from netlens.flat.grid import grid_of


def positions_of(flat: FlatModel, key: str, activation: Tensor) -> tuple[int, ...]:
    """The dimensions of the positions of an activation (N, ...).

    They are those of the layout of an input, those of the maps of a layer, or the one of tokens or of entries.

    Raises:
        NotApplicable: The activation has no positions.
    """
    if is_input(flat, key):
        return layout_at(flat, key, activation).positions
    if activation.ndim > 2:
        try:
            maps = grid_of(flat, key, activation)
        except NotApplicable:
            maps = None
        if maps is not None and maps.ndim == activation.ndim:
            # tokens in a grid of channels last; a map of equal sides may look like both, and then it is its own maps
            if maps is not activation and maps.shape == activation.movedim(-1, 1).shape:
                return tuple(range(1, activation.ndim - 1))
            if maps.shape == activation.shape:
                return tuple(range(2, activation.ndim))
    if activation.ndim in (2, 3):
        return (1,)
    raise NotApplicable(
        f"{key!r} of shape {tuple(activation.shape)} is neither maps nor tokens nor a vector; choose another."
    )


def has_maps(flat: FlatModel, key: str, activation: Tensor) -> bool:
    """Whether an activation is signals, images, volumes or maps, and not tokens or vectors."""
    if activation.ndim < 3:
        return False
    if is_input(flat, key):
        layout = layout_at(flat, key, activation)
        return layout.rank > 1 or layout.channel is not None
    try:
        return grid_of(flat, key, activation).ndim == activation.ndim
    except NotApplicable:
        return False


def channels_first(activation: Tensor, positions: Sequence[int]) -> Tensor:
    """(N, C, *sides): a view of an activation with its positions last. Without channels, C is 1.

    >>> import torch
    >>> channels_first(torch.zeros(2, 5, 3, 8, 9), (1, 3, 4)).shape
    torch.Size([2, 3, 5, 8, 9])
    """
    last = activation.movedim(tuple(positions), tuple(range(-len(positions), 0)))
    return last if last.ndim > len(positions) + 1 else last[:, None]

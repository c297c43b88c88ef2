"""Activations as maps over the input: one answer for everything that asks where an activation lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor, nn

from netlens.errors import NotApplicable
from netlens.flat._model import FlatModel
from netlens.flat.intake import channels_of, weight_of
from netlens.flat.keys import OUTPUT
from netlens.flat.layers import Part
from netlens.flat.layout import Layout, layout_of
from netlens.flat.operations import innermost
from netlens.flat.places import Followed, Grid, all_followed, followed

_USUAL_SIDE = 224


def grid_of(flat: FlatModel, key: str, activation: Tensor, x: Tensor | None = None) -> Tensor:
    """Lay out an activation as maps over the input.

    Args:
        flat: The flat model. If its adapter has a `grid`, that makes the maps. Otherwise the layers tell where each
            element of the activation comes from.
        key: The key of the layer.
        activation: The activation of the layer, for any number of samples.
        x: The input of the network, for its shape; None for that of the latest run.

    Returns:
        Maps (N, C, *spatial), with one spatial size for each dimension of the input: (N, C, h, w) for images.

    Raises:
        NotApplicable: The activation has no layout over the input.
    """
    grid = flat.adapter.grid
    kind = f"type {type(activation).__name__}"
    if isinstance(activation, Tensor):
        if grid is not None:
            maps = grid(flat, key, activation)
            if maps is not None and maps.ndim > 2:
                return maps
        else:
            layout = layout_at(flat, key, activation.shape, x)
            if layout is not None:
                return layout.maps(activation)
        kind = f"shape {tuple(activation.shape)}"
    raise NotApplicable(
        f"layer {key!r} of {flat.name} has activations of {kind}, which have no layout over the input; choose a layer "
        "whose activations are maps (N, C, h, w) or tokens that form a grid, or give an Adapter(grid=...)."
    )


def layout_at(flat: FlatModel, key: str, shape: Sequence[int], x: Tensor | None = None) -> Grid | None:
    """How activations of this shape lie over the input, by the layers of the network. None if they do not."""
    if key == OUTPUT and not flat.layers.has(OUTPUT):
        key = flat.program.outputs[0]
    if key in flat.inputs:
        x = torch.empty(tuple(shape), device="meta")
    others = []
    for places in _candidates(flat, x):
        layout = places.grid(key)
        layout = places.grid_of_stream(key) if layout is None else layout
        if layout is not None and layout.fits(shape):
            return layout
        others.append(layout)
    resized = (layout.resized(shape) for layout in others if layout is not None)
    layout = next((layout for layout in resized if layout is not None), None)
    if layout is None and len(shape) > 2 and prod(shape[2:]) == 1:
        return Grid.of_maps(tuple(shape))  # maps of one position, which a layer pools
    return layout


def _candidates(flat: FlatModel, x: Tensor | None) -> Iterator[Followed]:
    """What is known of the places for the shape of x; without x, for that of the latest run, and for the usual one."""
    if x is None and flat.latest_shape is not None:
        yield _followed(flat, flat.latest_shape)
    if x is None:
        yield from reversed(all_followed(flat.program))
    yield followed_for(flat, x)


def followed_for(flat: FlatModel, x: Tensor | None) -> Followed:
    """What is known of the places of all values, for an input of the shape of x; by default of the usual shape."""
    if x is not None:
        return _followed(flat, x.shape)
    parts = [step.layer for step in flat.program.steps if isinstance(step.layer, Part)]
    if parts:  # a bundle has an input of one shape
        return _followed(flat, (1, parts[-1].columns.stop))
    example = flat.adapter.example
    if isinstance(example, tuple):
        return _followed(flat, example)
    size = flat.adapter.preprocessing.size
    sides = size if size is not None else (_USUAL_SIDE, _USUAL_SIDE)
    channels = channels_of(flat)
    entries = None if channels is not None else _entries_of(flat)
    if entries is not None:
        return _followed(flat, (1, entries))
    return _followed(flat, (1, len(flat.adapter.preprocessing.mean) if channels is None else channels, *sides))


def _entries_of(flat: FlatModel) -> int | None:
    """The number of entries of a vector, if a linear layer is the first that reads the input; else None."""
    first = next((step for step in flat.program.steps if not step.hidden and flat.inputs[0] in step.reads), None)
    layer = None if first is None else innermost(first.layer)
    return layer.in_features if isinstance(layer, nn.Linear) else None


def _followed(flat: FlatModel, shape: Sequence[int]) -> Followed:
    one = (1, *shape[1:])
    weight = weight_of(flat, torch.empty(0))
    return followed(flat.program, (one,), weight, _layout(flat, one, weight))


def _layout(flat: FlatModel, shape: tuple[int, ...], like: Tensor) -> Layout | None:
    """Which dimensions of the input are positions; None if channels come first, as far as anybody can tell."""
    is_bundle = any(isinstance(step.layer, Part) for step in flat.program.steps)
    if is_bundle or len(shape) < 3 or len(flat.inputs) > 1:
        return None
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(like)
    try:
        return layout_of(flat, {flat.inputs[0]: noise})
    except Exception:  # a shape that the network does not take fails anywhere, and `Followed.failure` tells where
        return None

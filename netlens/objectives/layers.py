"""Objectives of the activation of a layer, of a channel or of a neuron; and any function of the output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from netlens.errors import NetLensError, NotApplicable
from netlens.flat.keys import OUTPUT, several
from netlens.objectives._base import Objective, PerSample, Record
from netlens.objectives.classes import plain
from netlens.options import checked

if TYPE_CHECKING:
    Index = int | Sequence[int] | Tensor


@dataclass(frozen=True, repr=False)
class LayerObjective(Objective):
    """One number per sample from the activation of one layer.

    Args:
        layer: The layer, by any name.
        function: A function from a record to the numbers (N,).
        name: The text of `repr`.
        splits: Whether the number of each sample depends on that sample alone.
    """

    layer: str
    function: Callable[[Record], Tensor]
    name: str
    splits: bool = False

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def __call__(self, record: Record) -> Tensor:
        return self.function(record)

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, repr=False, eq=False)
class Channel(PerSample):
    """The mean of a channel over all positions; see `channel`."""

    layer: str
    index: Index

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def __call__(self, record: Record) -> Tensor:
        return channel_maps(record, self.layer, self.index).flatten(1).mean(1)

    def take(self, samples: Sequence[int]) -> Objective:
        return replace(self, index=_index_of(self.index, samples))

    def __repr__(self) -> str:
        return f"channel({self.layer!r}, {plain(self.index)})"


@dataclass(frozen=True, repr=False, eq=False)
class Neuron(PerSample):
    """A channel at one position of the map; see `neuron`."""

    layer: str
    index: Index
    y: int | None = None
    x: int | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def __call__(self, record: Record) -> Tensor:
        maps = channel_maps(record, self.layer, self.index)
        row, column = position_in(maps, self.layer, self.y, self.x)
        return maps[:, row, column]

    def take(self, samples: Sequence[int]) -> Objective:
        return replace(self, index=_index_of(self.index, samples))

    def __repr__(self) -> str:
        place = [f", {name}={at}" for name, at in (("y", self.y), ("x", self.x)) if at is not None]
        return f"neuron({self.layer!r}, {plain(self.index)}{''.join(place)})"


def layer(key: str) -> Objective:
    """The mean square of a layer's activation, which DeepDream maximizes: mean(activation²).

    Args:
        key: The layer, by key, path, glob or index.

    Example:
        >>> layer("layer3")
        layer('layer3')

    Mordvintsev et al. 2015, https://research.google/blog/inceptionism-going-deeper-into-neural-networks/
    """
    return LayerObjective(key, lambda record: record[key].flatten(1).square().mean(1), f"layer({key!r})", splits=True)


def channel(key: str, index: Index) -> Objective:
    """The mean of one channel over all positions of the layer's map.

    Args:
        key: The layer, by key, path, glob or index.
        index: The channel, from 0; or a list or tensor of channels, one per sample.

    Raises:
        NetLensError: When the objective is computed: the layer has no such channel.

    Example:
        >>> channel("layer3", [0, 7])
        channel('layer3', [0, 7])
    """
    return Channel(key, index)


def neuron(key: str, index: Index, y: int | None = None, x: int | None = None) -> Objective:
    """One channel at one position of the layer's map.

    Args:
        key: The layer, by key, path, glob or index.
        index: The channel, from 0; or a list or tensor of channels, one per sample.
        y: The row of the map, from 0; None for the middle row.
        x: The column of the map, from 0; None for the middle column.

    Raises:
        NetLensError: When the objective is computed: the layer has no such channel or position.

    Example:
        >>> neuron("layer3", 12, y=0, x=3)
        neuron('layer3', 12, y=0, x=3)
    """
    return Neuron(key, index, y, x)


def output(function: Callable[[Any], Tensor], name: str | None = None) -> Objective:
    """Any function of the network's output that returns one number per sample.

    Args:
        function: A function from the output, in the network's own structure, to a tensor (N,).
        name: The text of `repr`; None for the name of the function.

    Raises:
        NotApplicable: When the objective is computed: the function does not return a tensor (N,).

    Example:
        >>> output(lambda scores: scores[:, 0] - scores[:, 1], name="margin")
        margin
    """
    checked("function", function, Callable, hint="give one of the network's output")

    def value(record: Record) -> Tensor:
        result = function(record.raw(OUTPUT))
        if not isinstance(result, Tensor) or result.ndim != 1:
            actual = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise NotApplicable(f"the function of the output must return one number per sample (N,), not {actual}.")
        return result

    return LayerObjective(OUTPUT, value, name if name is not None else getattr(function, "__name__", "output"))


def names_of(layers: str | Sequence[str]) -> tuple[str, ...]:
    """The names of one layer or of several layers."""
    return tuple(several(layers))  # type: ignore[arg-type]


def channel_maps(record: Record, key: str, index: Index) -> Tensor:
    """(N, h, w): the channel of each sample's map."""
    maps = record.maps(key)
    indices = plain(index)
    is_per_sample = isinstance(indices, Sequence) and not isinstance(indices, str)
    if is_per_sample and len(indices) != len(maps):
        raise NetLensError(
            f"index has {len(indices)} channels for {len(maps)} samples; give one channel, or one for each sample."
        )
    channels = [checked("a channel", number, int) for number in (indices if is_per_sample else [indices])]
    for number in channels:
        if not 0 <= number < maps.shape[1]:
            raise NetLensError(f"layer {key!r} has no channel {number}; its channels are 0 to {maps.shape[1] - 1}.")
    return maps[torch.arange(len(maps)), channels] if is_per_sample else maps[:, channels[0]]


def position_in(maps: Tensor, key: str, y: int | None, x: int | None) -> tuple[int, int]:
    """The row and column in maps (..., h, w). None means the middle. Raise if the maps have no such position."""
    height, width = maps.shape[-2:]
    row, column = height // 2 if y is None else y, width // 2 if x is None else x
    if not (0 <= row < height and 0 <= column < width):
        raise NetLensError(f"there is no position ({row}, {column}); the map of {key!r} is {height} by {width}.")
    return row, column


def _index_of(index: Index, samples: Sequence[int]) -> Index:
    """The channels of a batch that consists of these samples."""
    indices = plain(index)
    return [indices[sample] for sample in samples] if isinstance(indices, Sequence) else index

"""Objectives over the activation of one layer: all of it, a channel, a neuron; and any function of the output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import index as whole_number
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from netlens.errors import NetLensError, NotApplicable
from netlens.flat.model import OUTPUT
from netlens.objectives.base import Objective, PerSample, Record
from netlens.objectives.classes import plain

if TYPE_CHECKING:
    Index = int | Sequence[int] | Tensor


@dataclass(frozen=True, repr=False)
class LayerObjective(Objective):
    """One number per sample from the activation of one layer, by a function of the record.

    splits: whether the function gives each sample a number that is its own alone.
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
    """The mean of a channel over all positions: the same channel for all samples, or one for each."""

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
    """A channel, the same for all samples or one for each, at one position of the map; by default the middle."""

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
        return f"neuron({self.layer!r}, {plain(self.index)}, {self.y}, {self.x})"


def layer(key: str) -> Objective:
    """The mean square of a layer's activation: what DeepDream maximizes.

    Mordvintsev et al. 2015, https://research.google/blog/inceptionism-going-deeper-into-neural-networks/
    """
    return LayerObjective(key, lambda record: record[key].flatten(1).square().mean(1), f"layer({key!r})", splits=True)


def channel(key: str, index: Index) -> Objective:
    """The mean of one channel over all positions; a list or tensor of channels gives one per sample.

    >>> channel("layer3", [0, 7])
    channel('layer3', [0, 7])
    """
    return Channel(key, index)


def neuron(key: str, index: Index, y: int | None = None, x: int | None = None) -> Objective:
    """One channel, or one per sample, at one position of the map; by default the one in the middle."""
    return Neuron(key, index, y, x)


def output(function: Callable[[Any], Tensor], name: str | None = None) -> Objective:
    """Any function of the network's output (in its own structure) that gives one number per sample."""
    if not callable(function):
        raise NetLensError(f"output takes a function of the network's output, not a {type(function).__name__}.")

    def value(record: Record) -> Tensor:
        result = function(record.raw(OUTPUT))
        if not isinstance(result, Tensor) or result.ndim != 1:
            got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise NotApplicable(f"the function of the output must give one number per sample (N,), not {got}.")
        return result

    return LayerObjective(OUTPUT, value, name if name is not None else getattr(function, "__name__", "output"))


def channel_maps(record: Record, key: str, index: Index) -> Tensor:
    """(N, h, w): a channel of each sample's map, by an index for all samples or one for each."""
    maps = record.maps(key)
    given = plain(index)
    several = isinstance(given, Sequence) and not isinstance(given, str)
    if several and len(given) != len(maps):
        raise NetLensError(f"{len(given)} channels were given for {len(maps)} samples; give one, or one for each.")
    chosen = [_whole(one) for one in given] if several else [_whole(given)]
    for one in chosen:
        if not 0 <= one < maps.shape[1]:
            raise NetLensError(f"layer {key!r} has no channel {one}; its channels are 0 to {maps.shape[1] - 1}.")
    return maps[torch.arange(len(maps)), chosen] if several else maps[:, chosen[0]]


def position_in(maps: Tensor, key: str, y: int | None, x: int | None) -> tuple[int, int]:
    """A position of maps (..., h, w), checked; the middle where it is None."""
    height, width = maps.shape[-2:]
    row, column = height // 2 if y is None else y, width // 2 if x is None else x
    if not (0 <= row < height and 0 <= column < width):
        raise NetLensError(f"there is no position ({row}, {column}); the map of {key!r} is {height} by {width}.")
    return row, column


def _whole(index: Any) -> int:
    try:
        return whole_number(index)
    except TypeError:
        raise NetLensError(f"a channel is given by its index, a whole number, not by {index!r}.") from None


def _index_of(index: Index, samples: Sequence[int]) -> Index:
    given = plain(index)
    return [given[sample] for sample in samples] if isinstance(given, Sequence) else index

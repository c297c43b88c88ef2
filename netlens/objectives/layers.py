"""Objectives over the activation of one layer: channels, neurons, directions; and any function of the output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from netlens.errors import NetLensError, NotApplicable
from netlens.flat.model import OUTPUT
from netlens.objectives.base import Objective, Record


@dataclass(frozen=True, repr=False)
class LayerObjective(Objective):
    """One number per sample from the activation of one layer; made by the functions below."""

    layer: str
    function: Callable[[Record], Tensor]
    name: str

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def __call__(self, record: Record) -> Tensor:
        return self.function(record)

    def __repr__(self) -> str:
        return self.name


def layer(key: str) -> Objective:
    """The mean square of a layer's activation: what DeepDream maximises."""
    return LayerObjective(key, lambda record: record[key].flatten(1).square().mean(1), f"layer({key!r})")


def channel(key: str, index: int) -> Objective:
    """The mean of one channel over all positions."""

    def value(record: Record) -> Tensor:
        return _channel(record, key, index).flatten(1).mean(1)

    return LayerObjective(key, value, f"channel({key!r}, {index})")


def neuron(key: str, index: int, y: int | None = None, x: int | None = None) -> Objective:
    """One channel at one position of the map; by default the one in the middle."""

    def value(record: Record) -> Tensor:
        maps = _channel(record, key, index)
        height, width = maps.shape[1:]
        row, column = height // 2 if y is None else y, width // 2 if x is None else x
        if not (0 <= row < height and 0 <= column < width):
            raise NetLensError(f"there is no position ({row}, {column}); the map of {key!r} is {height} by {width}.")
        return maps[:, row, column]

    return LayerObjective(key, value, f"neuron({key!r}, {index}, {y}, {x})")


def direction(key: str, vector: Tensor) -> Objective:
    """The dot product of `vector`, one number per channel, with the activation, averaged over positions."""

    def value(record: Record) -> Tensor:
        maps = record.maps(key)
        if vector.shape != (maps.shape[1],):
            raise NetLensError(f"the direction has shape {tuple(vector.shape)}; {key!r} needs ({maps.shape[1]},).")
        return (maps * vector.to(maps)[:, None, None]).sum(1).flatten(1).mean(1)

    return LayerObjective(key, value, f"direction({key!r})")


def output(function: Callable[[Any], Tensor], name: str | None = None) -> Objective:
    """Any function of the network's output (in its own structure) that gives one number per sample."""

    def value(record: Record) -> Tensor:
        result = function(record.values[OUTPUT])
        if not isinstance(result, Tensor) or result.ndim != 1:
            got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise NotApplicable(f"the function of the output must give one number per sample (N,), not {got}.")
        return result

    return LayerObjective(OUTPUT, value, name if name is not None else getattr(function, "__name__", "output"))


def _channel(record: Record, key: str, index: int) -> Tensor:
    maps = record.maps(key)
    if not 0 <= index < maps.shape[1]:
        raise NetLensError(f"layer {key!r} has no channel {index}; its channels are 0 to {maps.shape[1] - 1}.")
    return maps[:, index]

"""The interface of a flat model for adapters, rules and summaries, which lie below `_model.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from torch import nn

from netlens.flat.adapter import Adapter
from netlens.flat.keys import LayerKey, Layers
from netlens.flat.running import Program

_Feeds = TypeVar("_Feeds", bound=Mapping[str, Any])


class Unrolled(nn.Module, ABC):
    """Abstract: a network as a program of named layers. `FlatModel` is one."""

    name: str
    """The name of the network in messages and results."""
    adapter: Adapter
    """What is known about the family of the network."""
    program: Program
    layers: Layers
    opaque: dict[str, str]
    """The reason for each layer that could not be unrolled, by key."""

    latest_shape: tuple[int, ...] | None = None
    """The shape of the first input of the latest run; None before the first run. Activations are laid out over it."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs: `("input",)`, or the names of the arguments if there are several."""
        return self.program.inputs

    @abstractmethod
    def run(self, feeds: Mapping[str, Any], fetches: Sequence[str]) -> dict[str, Any]:
        """Compute the values at `fetches` (exact keys, or "output") from `feeds` (values by exact key)."""

    def see(self, feeds: _Feeds) -> _Feeds:
        """Note the shape of the first input of a run. Returns the feeds."""
        shape = getattr(feeds.get(self.inputs[0]), "shape", None)
        if shape is not None:
            self.__dict__["latest_shape"] = tuple(shape)  # the setter of nn.Module is slow
        return feeds

    def find(self, name: LayerKey) -> list[str]:
        """The keys of all layers that `name` names."""
        return self.layers.find(name)

"""The interface of a flat model for adapters, rules and summaries, which lie below `_model.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from netlens.flat.adapter import Adapter
from netlens.flat.keys import LayerKey, Layers
from netlens.flat.running import Program


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

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs: `("input",)`, or the names of the arguments if there are several."""
        return self.program.inputs

    @abstractmethod
    def run(self, feeds: Mapping[str, Any], fetches: Sequence[str]) -> dict[str, Any]:
        """Compute the values at `fetches` (exact keys, or "output") from `feeds` (values by exact key)."""

    def find(self, name: LayerKey) -> list[str]:
        """The keys of all layers that `name` names."""
        return self.layers.find(name)

"""Surgery on flat models: each edit gives a flat model of a new program, on the same layers and weights."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TypeVar

from torch import nn

from netlens.flat import _surgery as surgery
from netlens.flat._unrolled import Unrolled
from netlens.flat.adapter import Adapter
from netlens.flat.keys import LayerKey
from netlens.flat.layers import Normalize
from netlens.flat.running import Program

E = TypeVar("E", bound="Editable")


class Editable(Unrolled):
    """Abstract: a network whose layers can be inserted, replaced and removed. `FlatModel` is the only subclass."""

    adapter: Adapter

    @abstractmethod
    def follow(self) -> None:
        """Unroll the network again if it has changed."""

    @abstractmethod
    def key(self, name: LayerKey) -> str:
        """The exact key of the layer that `name` names."""

    @abstractmethod
    def edited(self: E, program: Program) -> E:
        """A flat model of another program, with the name, adapter and classes of this one."""

    def prepend(self: E, name: str, layer: nn.Module) -> E:
        """A flat model with a new first `layer` with the key `name`. It reads the first input.

        If the layer is a `Normalize`, the flat model takes images in [0, 1], and the preprocessing of its adapter no
        longer normalizes.
        """
        flat = self.insert_after(self.inputs[0], name, layer)
        if isinstance(layer, Normalize):
            preprocessing = self.adapter.preprocessing
            mean, std = (0.0,) * len(preprocessing.mean), (1.0,) * len(preprocessing.std)
            flat.adapter = replace(self.adapter, preprocessing=replace(preprocessing, mean=mean, std=std))
        return flat

    def insert_after(self: E, key: LayerKey, name: str, layer: nn.Module) -> E:
        """A flat model with a new `layer` after `key`. All readers of `key` read the new layer instead."""
        self.follow()
        return self.edited(surgery.insert_after(self.program, self.key(key), name, layer))

    def insert_before(self: E, key: LayerKey, name: str, layer: nn.Module) -> E:
        """A flat model with a new `layer` between `key` and the first value that `key` reads."""
        self.follow()
        return self.edited(surgery.insert_before(self.program, self.layers.key(key), name, layer))

    def replace(self: E, key: LayerKey, layer: nn.Module) -> E:
        """A flat model in which `layer` replaces the layer `key`."""
        self.follow()
        return self.edited(surgery.substitute(self.program, self.layers.key(key), layer))

    def remove(self: E, key: LayerKey) -> E:
        """A flat model without the layer `key`, which must have one input. Its readers read this input instead."""
        self.follow()
        return self.edited(surgery.remove(self.program, self.layers.key(key)))

    def cut(self: E, key: LayerKey) -> E:
        """A flat model that ends after the layer `key`. Its output is the activation of this layer."""
        self.follow()
        return self.edited(surgery.cut(self.program, self.layers.key(key)))

"""What all class activation maps share: the layers that they read, and the fusion of maps of several layers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netlens.attribution._rows import per_sample, real_tensor
from netlens.attribution.activations import activations_of
from netlens.attribution.cam._fusion import Fusion, by_maximum, fused
from netlens.attribution.cam._layer import cam_layer
from netlens.attribution.engine import gradients_of
from netlens.attribution.method import Method
from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.bundle import is_input
from netlens.flat.grid import grid_of
from netlens.flat.keys import OUTPUT, several
from netlens.objectives import Objective
from netlens.options import option

LAYER = "A layer with maps, by name or index, or several layers; none for the last maps of the network."
"""The help of the option `layer`."""


@dataclass(frozen=True)
class ActivationMaps(Method):
    """Abstract: a method that makes one map (N, 1, h, w) per layer, at the resolution of that layer.

    Maps of signals have one side, (N, 1, t), and those of volumes and clips three.

    `layer` is any layer with maps, by name or index, or several layers. None means the last maps of the network. If
    `wrt` is a layer, the method explains that layer. With `relu`, negative values become 0.

    `fusion` says how the maps of several layers become one map, at the finest of their resolutions. Each map is divided
    by its largest value. The result is the mean, the maximum or the product at each position.
    """

    layer: str | int | Sequence[str | int] | None = option(None, help=LAYER)
    relu: bool = option(True, help="Whether to set negative values to 0.")
    fusion: Fusion = option("mean", help="How the maps of several layers become one.")
    reduction = "cam"
    gives_maps = True

    def at(self, flat: FlatModel, x: Tensor, wrt: str) -> str:
        return self.layers(flat, x, wrt)[-1]

    def settled(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Method:
        # an objective that reads an earlier layer than the output needs a still earlier one
        chosen = self.layer is not None or wrt not in flat.inputs
        if chosen or not self.reads_objective or objective.layers == (OUTPUT,):
            return self
        return replace(self, layer=cam_layer(flat, x, objective.layers))

    def layers(self, flat: FlatModel, x: Tensor, wrt: str) -> list[str]:
        """The exact keys of the layers that the method reads."""
        if not is_input(flat, wrt):
            return [flat.key(wrt)]
        if self.layer is None:
            return [cam_layer(flat, x)]
        names = several(self.layer)
        if not names:
            raise NetLensError("layer names no layer; give at least one, or None for the last maps of the network.")
        return list(dict.fromkeys(key for name in names for key in flat.find(name)))

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        keys = self.layers(flat, x, wrt)
        for key in keys if self.reads_objective else ():
            check_after(flat, objective, key)
        cams = self.cams(flat, x, objective, keys)
        cams = (cam.clamp(min=0) for cam in cams) if self.relu else cams
        return next(cams) if len(keys) == 1 else fused([self.scaled(cam) for cam in cams], self.fusion)

    @abstractmethod
    def cams(self, flat: FlatModel, x: Tensor, objective: Objective, keys: Sequence[str]) -> Iterator[Tensor]:
        """The map (N, 1, h, w) of each layer, with its sign, before `relu`."""

    def scaled(self, cam: Tensor) -> Tensor:
        """The map of one layer on the scale that the maps of all layers share before fusion."""
        return by_maximum(cam)


@dataclass(frozen=True)
class GradientMaps(ActivationMaps):
    """Abstract: a method whose map follows from the activation of a layer and the gradient of the objective there."""

    def points(self, flat: FlatModel, x: Tensor, wrt: str) -> tuple[str, ...]:
        return tuple(self.layers(flat, x, wrt))

    def cams(self, flat: FlatModel, x: Tensor, objective: Objective, keys: Sequence[str]) -> Iterator[Tensor]:
        for key, activation, gradient in zip(keys, *gradients_of(flat, x, objective, keys), strict=True):
            yield self.combine(grid_of(flat, key, activation, x), grid_of(flat, key, gradient, x))

    @abstractmethod
    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """The map (N, 1, h, w) of one layer, from its activation and gradient (N, C, h, w)."""


def weighted(weights: Tensor, maps: Tensor) -> Tensor:
    """(N, 1, h, w): the sum over channels of maps (N, C, h, w), with one weight per channel (N, C)."""
    # one sample at a time, because all products together would be as large as the maps of all samples
    sums = [
        (sample_weights.view(-1, *[1] * (sample_maps.ndim - 1)) * sample_maps).sum(0, keepdim=True)
        for sample_weights, sample_maps in zip(weights, maps, strict=True)
    ]
    return torch.stack(sums)


def maps_of(flat: FlatModel, x: Tensor, keys: Sequence[str]) -> dict[str, Tensor]:
    """The maps (N, C, h, w) of these layers, for methods that need no gradient."""
    activations = activations_of(flat, x, keys)
    return {key: grid_of(flat, key, per_sample(key, real_tensor(key, activations[key]), len(x)), x) for key in keys}


def check_after(flat: FlatModel, objective: Objective, key: str) -> None:
    """Raise `NotApplicable` if the objective reads nothing that comes after the layer."""
    after = flat.program.reached([key])
    if not after.isdisjoint(flat.program.outputs):
        after.add(OUTPUT)
    if after.isdisjoint(flat.keys_of(objective.layers)):
        raise NotApplicable(f"{objective} of {flat.name} does not come after {key!r}, so it does not depend on it.")

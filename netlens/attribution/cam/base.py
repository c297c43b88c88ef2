"""What all class activation maps share: which layers they read, and how maps of several layers become one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution.cam.fusion import Fusion, by_maximum, fused
from netlens.attribution.cam.layer import cam_layer
from netlens.attribution.engine import activations_of, gradients_of, per_sample, real_tensor
from netlens.attribution.method import Method
from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.grid import grid_of
from netlens.flat.keys import several
from netlens.flat.model import OUTPUT
from netlens.objectives import Objective
from netlens.options import option

LAYER = "Any layer with maps, by its name or index, or several; none for the last maps of the network."
"""The help of the option `layer`."""


@dataclass(frozen=True)
class ActivationMaps(Method):
    """Abstract: one map (N, 1, h, w) per layer, at the resolution of that layer.

    layer: any layer with maps, by any name of it or its index, or several; None: the network's last maps. When called
    with `wrt` another layer than the input, that layer is the one explained. relu: keep only what is positive.

    fusion: how the maps of several layers become one, at the finest of their resolutions: each is divided by its
    largest value, and then the mean, the maximum or the product is taken at each place.
    """

    layer: str | int | Sequence[str | int] | None = option(None, help=LAYER)
    relu: bool = option(True, help="Whether to keep only what is positive.")
    fusion: Fusion = option("mean", help="How the maps of several layers become one.")
    reduction = "cam"

    def at(self, flat: FlatModel, wrt: str) -> str:
        return self.layers(flat, wrt)[-1]

    def layers(self, flat: FlatModel, wrt: str) -> list[str]:
        """The exact keys of the layers that are read."""
        if wrt not in flat.inputs:
            return [flat.key(wrt)]
        if self.layer is None:
            return [cam_layer(flat)]
        names = several(self.layer)
        if not names:
            raise NetLensError("layer names no layer; give at least one, or None for the network's last maps.")
        return list(dict.fromkeys(key for name in names for key in flat.find(name)))

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        keys = self.layers(flat, wrt)
        for key in keys if self.reads_objective else ():
            check_after(flat, objective, key)
        cams = self.cams(flat, x, objective, keys)
        cams = (cam.clamp(min=0) for cam in cams) if self.relu else cams
        return next(cams) if len(keys) == 1 else fused([self.scaled(cam) for cam in cams], self.fusion)

    @abstractmethod
    def cams(self, flat: FlatModel, x: Tensor, objective: Objective, keys: Sequence[str]) -> Iterator[Tensor]:
        """The map (N, 1, h, w) of each layer, with its sign."""

    def scaled(self, cam: Tensor) -> Tensor:
        """The map of one of several layers on a scale that it shares with the others."""
        return by_maximum(cam)

    def maps(self, flat: FlatModel, key: str, values: Tensor) -> Tensor | None:
        return None


@dataclass(frozen=True)
class GradientMaps(ActivationMaps):
    """Abstract: a map made from the activation of a layer and the objective's gradient there."""

    def points(self, flat: FlatModel, wrt: str) -> tuple[str, ...]:
        return tuple(self.layers(flat, wrt))

    def cams(self, flat: FlatModel, x: Tensor, objective: Objective, keys: Sequence[str]) -> Iterator[Tensor]:
        for key, activation, gradient in zip(keys, *gradients_of(flat, x, objective, keys), strict=True):
            yield self.combine(grid_of(flat, key, activation), grid_of(flat, key, gradient))

    @abstractmethod
    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """(N, 1, h, w) from the activation and gradient (N, C, h, w) of one layer."""


def weighted(weights: Tensor, maps: Tensor) -> Tensor:
    """(N, 1, h, w): the sum of maps (N, C, h, w) with one weight per channel (N, C)."""
    # one product after the other: all of them together would be as large as the maps of all samples
    sums = [(own[:, None, None] * its).sum(0, keepdim=True) for own, its in zip(weights, maps, strict=True)]
    return torch.stack(sums)


def maps_of(flat: FlatModel, x: Tensor, keys: Sequence[str]) -> dict[str, Tensor]:
    """The maps (N, C, h, w) of these layers, for methods that look at no gradient."""
    activations = activations_of(flat, x, keys)
    return {key: grid_of(flat, key, per_sample(key, real_tensor(key, activations[key]), len(x))) for key in keys}


def check_after(flat: FlatModel, objective: Objective, key: str) -> None:
    """Raise if the objective reads nothing that comes after the layer."""
    after = flat.program.reached([key])
    if not after.isdisjoint(flat.program.outputs):
        after.add(OUTPUT)
    if after.isdisjoint(flat.keys_of(objective.layers)):
        raise NotApplicable(f"{objective} of {flat.name} does not come after {key!r}, so it does not depend on it.")

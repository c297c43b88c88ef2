"""Grad-CAM: channels of a late layer, weighted by how the objective depends on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.attribution.cam.layer import cam_layer
from netlens.attribution.engine import gradients_of
from netlens.attribution.gradient import GuidedBackprop
from netlens.attribution.method import Method, register
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.adapter import grid_of
from netlens.objectives import Objective


@register
@dataclass(frozen=True)
class GradCAM(Method):
    """Channels of a late layer, weighted by their mean gradient, summed, and by default only what is positive.

    layer: any layer with maps, or several, whose maps are each divided by their maximum, brought to the finest of
    their resolutions and averaged; None: the network's last maps. `values` (N, 1, h, w) have the layer's resolution.
    When called with `wrt` another layer than the input, that layer is the one explained.

    Selvaraju et al. 2016, https://arxiv.org/abs/1610.02391
    """

    layer: str | Sequence[str] | None = None
    relu: bool = True
    reduction = "cam"

    def at(self, flat: FlatModel, wrt: str) -> str:
        return self.layers(flat, wrt)[-1]

    def layers(self, flat: FlatModel, wrt: str) -> list[str]:
        """The exact keys of the layers that are read."""
        if wrt not in flat.inputs:
            return [flat.key(wrt)]
        if self.layer is None:
            return [cam_layer(flat)]
        names = [self.layer] if isinstance(self.layer, str) else list(self.layer)
        return [key for name in names for key in flat.find(name)]

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        keys = self.layers(flat, wrt)
        maps = [
            self.combine(grid_of(flat, key, activation), grid_of(flat, key, gradient))
            for key, activation, gradient in zip(keys, *gradients_of(flat, x, objective, keys), strict=True)
        ]
        if len(maps) == 1:
            return maps[0]
        finest = max((cam.shape[-2:] for cam in maps), key=lambda size: size[0] * size[1])
        resized = [F.interpolate(_by_maximum(cam), finest, mode="bilinear") for cam in maps]
        return torch.stack(resized).mean(0)

    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """(N, 1, h, w) from the activation and gradient (N, C, h, w) of one layer."""
        weights = gradient.mean((2, 3), keepdim=True)
        cam = (weights * activation).sum(1, keepdim=True)
        return cam.clamp(min=0) if self.relu else cam

    def maps(self, flat: FlatModel, key: str, values: Tensor) -> Tensor | None:
        return None


@register
@dataclass(frozen=True)
class GuidedGradCAM(Method):
    """Guided backprop where Grad-CAM sees the class: their product, the map resized to the gradient's resolution.

    Selvaraju et al. 2016, https://arxiv.org/abs/1610.02391
    """

    layer: str | Sequence[str] | None = None
    interpolation: Literal["bilinear", "nearest"] = "bilinear"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        where = GradCAM(self.layer).attribute(flat, x, objective, flat.inputs[0])
        what = GuidedBackprop().attribute(flat, x, objective, wrt)
        if what.ndim != 4:
            raise NotApplicable(f"guided Grad-CAM needs maps (N, C, h, w); {wrt!r} gives {tuple(what.shape)}.")
        return what * F.interpolate(where, what.shape[-2:], mode=self.interpolation)


def _by_maximum(cam: Tensor) -> Tensor:
    largest = cam.abs().amax((1, 2, 3), keepdim=True)
    return cam / largest.clamp(min=torch.finfo(cam.dtype).tiny)

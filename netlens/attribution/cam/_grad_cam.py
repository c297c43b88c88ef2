"""Grad-CAM: the channels of a late layer, weighted by how the objective depends on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from netlens.attribution._gradient import GuidedBackprop
from netlens.attribution._positions import has_maps, positions_of
from netlens.attribution.cam._base import LAYER, GradientMaps, weighted
from netlens.attribution.cam._sides import resized, sides_of
from netlens.attribution.method import Method, register
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.options import option

Interpolation = Literal["bilinear", "nearest"]


@register
@dataclass(frozen=True)
class GradCAM(GradientMaps):
    """The channels of a late layer, weighted by their mean gradient.

    `values` (N, 1, h, w) are sum_c w_c A_c at the resolution of the layer, where w_c is the mean of the gradient over
    the positions of channel c. By default, negative values become 0.

    `layer` is any layer with maps, or several layers. Each of several maps is divided by its maximum and resized to the
    finest of the resolutions, and `fusion` says how they become one. None means the last maps of the network. If `wrt`
    is a layer, the method explains that layer.

    Selvaraju et al. 2016, https://arxiv.org/abs/1610.02391
    """

    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return weighted(gradient.mean(sides_of(gradient)), activation)


@register
@dataclass(frozen=True)
class XGradCAM(GradientMaps):
    """The channels of a late layer, weighted by the mean of their gradient over the positions where they are active.

    `values` (N, 1, h, w) are sum_c w_c A_c at the resolution of the layer, with w_c = sum(G_c A_c) / sum(A_c). Among
    weights, these come closest to two axioms: the map of a channel sums to the change of the objective when the channel
    is removed, and the whole map sums to the objective. A channel whose sum is 0 has the weight 0.

    Fu et al. 2020, https://arxiv.org/abs/2008.02312
    """

    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        total = activation.sum(sides_of(activation))
        weights = (gradient * activation).sum(sides_of(activation)) / total.masked_fill(total == 0, 1)
        return weighted(weights.masked_fill(total == 0, 0), activation)


@register
@dataclass(frozen=True)
class GuidedGradCAM(Method):
    """Guided backprop times Grad-CAM: fine detail where the map of the class is high.

    `values` have the shape of `wrt`. The map is resized to their resolution.

    Selvaraju et al. 2016, https://arxiv.org/abs/1610.02391
    """

    layer: str | int | Sequence[str | int] | None = option(None, help=LAYER)
    interpolation: Interpolation = option("bilinear", help="How the map is resized.")

    def points(self, flat: FlatModel, x: Tensor, wrt: str) -> tuple[str, ...]:
        return GradCAM(self.layer).points(flat, x, flat.inputs[0])

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        cam = GradCAM(self.layer).attribute(flat, x, objective, flat.inputs[0])
        gradient = GuidedBackprop().attribute(flat, x, objective, wrt)
        if not has_maps(flat, wrt, gradient):
            raise NotApplicable(f"guided Grad-CAM needs maps (N, C, h, w); {wrt!r} gives {tuple(gradient.shape)}.")
        positions = positions_of(flat, wrt, gradient)
        size = [gradient.shape[dim] for dim in positions]
        nearest = self.interpolation == "nearest" and len(size) == cam.ndim - 2
        large = F.interpolate(cam, size, mode="nearest") if nearest else resized(cam, size)
        return gradient * (large if gradient.ndim == large.ndim else large[:, 0]).movedim(sides_of(large), positions)

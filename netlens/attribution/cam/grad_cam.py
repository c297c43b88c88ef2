"""Grad-CAM: channels of a late layer, weighted by how the objective depends on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from netlens.attribution.cam.base import LAYER, GradientMaps, weighted
from netlens.attribution.gradient import GuidedBackprop
from netlens.attribution.method import Method, register
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.options import option

Interpolation = Literal["bilinear", "nearest"]


@register
@dataclass(frozen=True)
class GradCAM(GradientMaps):
    """Channels of a late layer, weighted by their mean gradient, summed, and by default only what is positive.

    layer: any layer with maps, or several, whose maps are each divided by their maximum, brought to the finest of
    their resolutions and averaged (or what `fusion` says); None: the network's last maps. `values` (N, 1, h, w) have
    the layer's resolution. When called with `wrt` another layer than the input, that layer is the one explained.

    Selvaraju et al. 2016, https://arxiv.org/abs/1610.02391
    """

    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return weighted(gradient.mean((2, 3)), activation)


@register
@dataclass(frozen=True)
class XGradCAM(GradientMaps):
    """Channels weighted by the mean of their gradient over the places where they are active.

    The weight is sum(gradient * activation) / sum(activation), which comes closest to two axioms: the map sums to the
    change of the objective when a channel is removed, and to the objective itself. A channel that sums to zero gets
    none. `values` (N, 1, h, w) have the layer's resolution.

    Fu et al. 2020, https://arxiv.org/abs/2008.02312
    """

    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        total = activation.sum((2, 3))
        weights = (gradient * activation).sum((2, 3)) / total.masked_fill(total == 0, 1)
        return weighted(weights.masked_fill(total == 0, 0), activation)


@register
@dataclass(frozen=True)
class GuidedGradCAM(Method):
    """Guided backprop where Grad-CAM sees the class: their product, the map resized to the gradient's resolution.

    Selvaraju et al. 2016, https://arxiv.org/abs/1610.02391
    """

    layer: str | int | Sequence[str | int] | None = option(None, help=LAYER)
    interpolation: Interpolation = option("bilinear", help="How the map is resized.")

    def points(self, flat: FlatModel, wrt: str) -> tuple[str, ...]:
        return GradCAM(self.layer).points(flat, flat.inputs[0])

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        where = GradCAM(self.layer).attribute(flat, x, objective, flat.inputs[0])
        what = GuidedBackprop().attribute(flat, x, objective, wrt)
        if what.ndim != 4:
            raise NotApplicable(f"guided Grad-CAM needs maps (N, C, h, w); {wrt!r} gives {tuple(what.shape)}.")
        return what * F.interpolate(where, what.shape[-2:], mode=self.interpolation)

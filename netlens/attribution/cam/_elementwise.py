"""Maps that weigh each position by the gradient at that position, not by the mean gradient of a channel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution.cam._base import GradientMaps
from netlens.attribution.cam._fusion import Fusion, by_maximum
from netlens.attribution.method import register


@register
@dataclass(frozen=True)
class HiResCAM(GradientMaps):
    """Gradient times activation, summed over channels.

    `values` (N, 1, h, w) are sum_c G_c A_c at the resolution of the layer, in the unit of the objective. With
    `relu=False`, and if the rest of the network is piecewise linear, the map sums to the objective without the effect
    of the biases after the layer.

    Draelos and Carin 2020, https://arxiv.org/abs/2011.08891
    """

    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return (gradient * activation).sum(1, keepdim=True)


@register
@dataclass(frozen=True)
class GradCAMElementWise(GradientMaps):
    """The positive part of gradient times activation, summed over channels.

    `values` (N, 1, h, w) are sum_c max(G_c A_c, 0) at the resolution of the layer, in the unit of the objective.

    Pillai and Pirsiavash 2021, https://doi.org/10.1609/aaai.v35i6.16618
    """

    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return (gradient * activation).clamp(min=0).sum(1, keepdim=True)


@register
@dataclass(frozen=True)
class LayerCAM(GradientMaps):
    """Positive gradients times the activation, summed over channels: a map that is sharp at early layers too.

    `values` (N, 1, h, w) are sum_c max(G_c, 0) A_c at the resolution of the layer, in the unit of the objective. Maps
    of several layers are fused as in the paper: each becomes tanh(2 * map / maximum), and each position gets the
    largest.

    Jiang et al. 2021, https://doi.org/10.1109/TIP.2021.3089943
    """

    fusion: Fusion = "max"

    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return (gradient.clamp(min=0) * activation).sum(1, keepdim=True)

    def scaled(self, cam: Tensor) -> Tensor:
        return torch.tanh(2 * by_maximum(cam))

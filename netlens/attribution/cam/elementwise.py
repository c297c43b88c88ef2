"""Maps that weigh each place by its own gradient, so that none is blurred over a channel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution.cam.base import GradientMaps
from netlens.attribution.cam.fusion import Fusion, by_maximum
from netlens.attribution.method import register


@register
@dataclass(frozen=True)
class HiResCAM(GradientMaps):
    """Gradient times activation, summed over channels.

    With `relu=False` on a piecewise linear rest of the network, the map sums to the objective but for the biases after
    the layer. `values` (N, 1, h, w) have the layer's resolution.

    Draelos and Carin 2020, https://arxiv.org/abs/2011.08891
    """

    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return (gradient * activation).sum(1, keepdim=True)


@register
@dataclass(frozen=True)
class GradCAMElementWise(GradientMaps):
    """Gradient times activation, of which only what is positive in each channel is summed.

    `values` (N, 1, h, w) have the layer's resolution.

    Pillai and Pirsiavash 2021, https://doi.org/10.1609/aaai.v35i6.16618
    """

    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return (gradient * activation).clamp(min=0).sum(1, keepdim=True)


@register
@dataclass(frozen=True)
class LayerCAM(GradientMaps):
    """Positive gradients times the activation, summed over channels; sharp at early layers too.

    The maps of several layers are fused as in the paper: each becomes tanh(2 * map / maximum), and the largest counts
    at each place. `values` (N, 1, h, w) have the layer's resolution.

    Jiang et al. 2021, https://doi.org/10.1109/TIP.2021.3089943
    """

    fusion: Fusion = "max"

    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return (gradient.clamp(min=0) * activation).sum(1, keepdim=True)

    def scaled(self, cam: Tensor) -> Tensor:
        return torch.tanh(2 * by_maximum(cam))

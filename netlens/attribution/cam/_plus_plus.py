"""Grad-CAM++ and its mean over noisy copies: gradients weighted so that small objects count as much as large ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution._chunk import in_chunks
from netlens.attribution._noise import normal, spans
from netlens.attribution.cam._base import ActivationMaps, GradientMaps, maps_of, weighted
from netlens.attribution.cam._sides import sides_of
from netlens.attribution.engine import gradients_of
from netlens.attribution.method import register
from netlens.flat import FlatModel
from netlens.flat.grid import grid_of
from netlens.objectives import Objective
from netlens.options import option
from netlens.precision import precise


@register
@dataclass(frozen=True)
class GradCAMPlusPlus(GradientMaps):
    """The channels of a late layer, weighted so that small objects count as much as large ones.

    `values` (N, 1, h, w) are sum_c w_c A_c at the resolution of the layer, with w_c = sum(alpha * max(g, 0)) over the
    positions of the channel. At each position alpha = g^2 / (2 g^2 + S g^3), where g is the gradient and S the sum of
    the activation over the channel. This is equation 19 of the paper for the score exp(objective). The factor
    exp(objective) cancels in alpha, and would scale all weights alike, so the weights leave it out.

    The maps of the paper are rectified. For other maps, S sums the positive part, because the divisor could vanish
    otherwise. pytorch-grad-cam computes the same, but adds 1e-6 to the denominator. torchcam sums g^3 * activation over
    the channel, which differs from the equation.

    Chattopadhay et al. 2017, https://arxiv.org/abs/1710.11063
    """

    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        activation, gradient = precise(activation), precise(gradient)
        alpha = _alpha(gradient.square(), gradient**3, activation)
        return weighted((alpha * gradient.clamp(min=0)).sum(sides_of(activation)), activation)


@register
@dataclass(frozen=True)
class SmoothGradCAMPlusPlus(ActivationMaps):
    """Grad-CAM++ from the mean gradients of noisy copies of the input.

    `values` (N, 1, h, w) have the resolution of the layer. The gradient, its square and its cube are means over
    `n_samples` noisy copies; the activation is that of the input without noise. The noise is normal. Its standard
    deviation is `noise_level` times the range (max - min) of the sample. All samples of a batch get the same pattern.

    The numerator of alpha is the mean square, as in Grad-CAM++. The paper prints the mean gradient there, which has
    another unit. torchcam uses the gradient of the last copy instead of the mean.

    Omeiza et al. 2019, https://arxiv.org/abs/1908.01224
    """

    n_samples: int = option(10, least=1, help="Noisy copies of each input.")
    noise_level: float = option(
        0.15, least=0, help="Deviation of the noise, as a share of the range (max - min) of the sample."
    )
    seed: int = option(0, least=0, help="Seed of the random numbers.")

    def cams(self, flat: FlatModel, x: Tensor, objective: Objective, keys: Sequence[str]) -> Iterator[Tensor]:
        maps = {key: precise(value) for key, value in maps_of(flat, x, keys).items()}
        moments = {key: [torch.zeros_like(value) for _ in range(3)] for key, value in maps.items()}
        for rows, gradients in self._gradients(flat, x, objective, keys):
            index = torch.tensor(rows, device=x.device)
            for key, gradient in zip(keys, gradients, strict=True):
                of_maps = precise(grid_of(flat, key, gradient, x))
                for power, moment in enumerate(moments[key], start=1):
                    moment.index_add_(0, index, of_maps**power / self.n_samples)
        for key, (first, second, third) in moments.items():
            alpha = _alpha(second, third, maps[key])
            yield weighted((alpha * first.clamp(min=0)).sum(sides_of(first)), maps[key])

    def _gradients(
        self, flat: FlatModel, x: Tensor, objective: Objective, keys: Sequence[str]
    ) -> Iterator[tuple[list[int], tuple[Tensor, ...]]]:
        n = len(x)
        scale = self.noise_level * spans(flat, x, flat.inputs[0])

        def work(first: int, last: int) -> tuple[list[int], tuple[Tensor, ...]]:
            # rows of one sample lie n apart: first all samples of one copy, then all samples of the next
            rows = [row % n for row in range(first, last)]
            noise = {copy: normal(x, self.seed, copy) for copy in range(first // n, (last - 1) // n + 1)}
            noisy = x[rows] + scale[rows] * torch.stack([noise[row // n] for row in range(first, last)])
            return rows, gradients_of(flat, noisy, objective.take(rows), keys)[1]

        return in_chunks(self.n_samples * n, work)


def _alpha(square: Tensor, cube: Tensor, activation: Tensor) -> Tensor:
    """Equation 19, from the (mean) square and cube of the gradient. It is 0 where the gradient or the divisor is 0."""
    divisor = 2 * square + activation.clamp(min=0).sum(sides_of(activation), keepdim=True) * cube
    zero = divisor == 0
    return (square / divisor.masked_fill(zero, 1)).masked_fill(zero, 0)

"""Noise, blur and flips."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.options import check, option
from netlens.visualization.transforms._affine import Geometric, View
from netlens.visualization.transforms._base import Generators, Transform, check_batch, check_range, uniform


@dataclass(frozen=True)
class Noise(Transform):
    """Add normal noise."""

    deviation: float = option(0.02, least=0, help="Standard deviation, for colors in [0, 1].")

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, images: Tensor, generators: Generators) -> Tensor:
        check_batch(images, generators)
        shape = images.shape[1:]
        drawn = [torch.randn(shape, generator=generator, dtype=images.dtype) for generator in generators]
        return images + self.deviation * torch.stack(drawn).to(images.device)


@dataclass(frozen=True)
class Blur(Transform):
    """Blur with a Gaussian whose standard deviation is drawn between `low` and `high`. Edge pixels are repeated."""

    low: float = option(0.0, least=0, help="The smallest standard deviation, in pixels.")
    high: float = option(1.0, least=0, help="The largest standard deviation, in pixels.")

    def __post_init__(self) -> None:
        check(self)
        check_range(self, self.low, self.high)

    def __call__(self, images: Tensor, generators: Generators) -> Tensor:
        check_batch(images, generators)
        deviation = uniform(generators, self.low, self.high).clamp(min=1e-6)  # 1e-6 does not change the picture
        radius = max(1, round(3 * self.high))
        positions = torch.arange(-radius, radius + 1, dtype=torch.float64)
        kernels = (-(positions**2) / (2 * deviation[:, None] ** 2)).exp()
        kernels = (kernels / kernels.sum(1, keepdim=True)).to(images)
        n, channels, height, width = images.shape
        kernels = kernels.repeat_interleave(channels, 0)
        x = images.reshape(1, n * channels, height, width)
        x = F.conv2d(F.pad(x, (0, 0, radius, radius), "replicate"), kernels[:, None, :, None], groups=n * channels)
        x = F.conv2d(F.pad(x, (radius, radius, 0, 0), "replicate"), kernels[:, None, None], groups=n * channels)
        return x.view(images.shape)


@dataclass(frozen=True)
class Flip(Geometric):
    """Swap left and right with some probability."""

    probability: float = option(0.5, least=0, most=1, help="The probability of a swap.")

    def __post_init__(self) -> None:
        check(self)

    def view_through(self, view: View, generators: Generators) -> View:
        matrices = View.whole(len(generators), view.size).matrices
        matrices[:, 0, 0] = torch.where(uniform(generators, 0, 1) < self.probability, -1, 1)
        return view.moved(matrices)

"""Pictures as a sum of waves, the usual parameterization of feature visualizations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.options import option
from netlens.visualization.params._base import noise
from netlens.visualization.params._invertible import Invertible
from netlens.visualization.params._spectrum import falling, of_picture, to_picture


@dataclass(frozen=True)
class Fourier(Invertible):
    """The amplitudes of waves are optimized. They are scaled, so that a step changes long waves more than short ones.

    The scale of a wave is its strength in photographs. The parameters are the real and imaginary parts of the spectrum
    of a real picture (N, C, H, W // 2 + 1, 2). Up to four imaginary parts have no effect: those of the mean and of the
    highest frequencies.

    Olah et al. 2017, https://distill.pub/2017/feature-visualization
    """

    sd: float = option(0.01, least=0, help="Standard deviation of the noise from which it starts.")
    decay: float = option(1.0, help="Waves are scaled by 1 / frequency ** decay.")

    def start(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> list[Tensor]:
        height, width = self.extent
        shape = (self.channels, height, width // 2 + 1, 2)
        return self.drawn(lambda generator: [self.sd * noise(generator, *shape)], device, dtype)

    def values(self, parameters: Sequence[Tensor]) -> Tensor:
        (waves,) = parameters
        return to_picture(torch.view_as_complex(waves) * self._scale(waves), self.extent[1])

    def encoded(self, values: Tensor) -> list[Tensor]:
        return [torch.view_as_real(of_picture(values) / self._scale(values))]

    def _scale(self, like: Tensor) -> Tensor:
        # divided by 4, because larger steps would saturate the sigmoid of the colors
        return falling(self.extent, like) ** self.decay / 4

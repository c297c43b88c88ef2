"""Pictures made of waves, as most feature visualizations are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.options import option
from netlens.visualization.params.base import noise
from netlens.visualization.params.invertible import Invertible
from netlens.visualization.params.spectrum import falling, of_picture, to_picture


@dataclass(frozen=True)
class Fourier(Invertible):
    """Each wave is optimized by itself, scaled so that one step moves long waves as much more as photographs do.

    The parameters are real and imaginary parts (N, C, H, W // 2 + 1, 2) of the half plane that makes a real picture. At
    most four of the imaginary parts (of the mean and the fastest waves) have no effect on a real picture.

    Olah et al. 2017, https://distill.pub/2017/feature-visualization
    """

    sd: float = option(0.01, least=0, help="The standard deviation of what it starts from.")
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
        # a quarter, because unit steps would otherwise drive the sigmoid of the colors into saturation
        return falling(self.extent, like) ** self.decay / 4

"""Pictures whose pixels are optimized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.options import option
from netlens.visualization.params._base import noise
from netlens.visualization.params._invertible import Invertible


@dataclass(frozen=True)
class Pixel(Invertible):
    """The values of the pixels are optimized, from noise."""

    sd: float = option(0.01, least=0, help="Standard deviation of the noise from which it starts.")

    def start(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> list[Tensor]:
        return self.drawn(lambda generator: [self.sd * noise(generator, self.channels, *self.extent)], device, dtype)

    def values(self, parameters: Sequence[Tensor]) -> Tensor:
        (values,) = parameters
        return values

    def encoded(self, values: Tensor) -> list[Tensor]:
        return [values]

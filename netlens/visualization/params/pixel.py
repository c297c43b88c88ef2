"""Pictures made of their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.options import option
from netlens.visualization.params.base import noise
from netlens.visualization.params.invertible import Invertible


@dataclass(frozen=True)
class Pixel(Invertible):
    """Each pixel is optimized by itself, from noise."""

    sd: float = option(0.01, least=0, help="The standard deviation of what it starts from.")

    def start(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> list[Tensor]:
        return self.drawn(lambda generator: [self.sd * noise(generator, self.channels, *self.extent)], device, dtype)

    def values(self, parameters: Sequence[Tensor]) -> Tensor:
        (values,) = parameters
        return values

    def encoded(self, values: Tensor) -> list[Tensor]:
        return [values]

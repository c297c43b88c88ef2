"""Pictures as a Laplacian pyramid: a coarse picture, plus the missing detail at each finer size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.options import option
from netlens.visualization.params._base import noise
from netlens.visualization.params._invertible import Invertible


@dataclass(frozen=True)
class Pyramid(Invertible):
    """The levels of a Laplacian pyramid are optimized. Each level has half the size of the previous, finer one.

    Burt and Adelson 1983, https://doi.org/10.1109/TCOM.1983.1095851
    """

    levels: int | None = option(
        None, least=1, help="Number of levels; by default, the coarsest level is at least 4 pixels high and wide."
    )
    sd: float = option(0.01, least=0, help="Standard deviation of the noise from which it starts.")

    def start(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> list[Tensor]:
        def draw(generator: torch.Generator) -> list[Tensor]:
            return [self.sd * noise(generator, self.channels, *extent) for extent in self.extents]

        return self.drawn(draw, device, dtype)

    @property
    def extents(self) -> list[tuple[int, int]]:
        """Height and width of each level, from fine to coarse."""
        extents = [self.extent]
        while len(extents) < self.levels if self.levels is not None else min(extents[-1]) >= 8:
            height, width = extents[-1]
            extents.append(((height + 1) // 2, (width + 1) // 2))
        return extents

    def values(self, parameters: Sequence[Tensor]) -> Tensor:
        *finer, picture = parameters
        for level in reversed(finer):
            picture = level + _enlarged(picture, level)
        return picture

    def encoded(self, values: Tensor) -> list[Tensor]:
        levels, picture = [], values
        for extent in self.extents[1:]:
            coarser = F.interpolate(picture, extent, mode="bilinear", antialias=True)
            levels.append(picture - _enlarged(coarser, picture))
            picture = coarser
        return [*levels, picture]


def _enlarged(picture: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(picture, like.shape[2:], mode="bilinear", align_corners=False)

"""Pictures made of a Laplacian pyramid: a coarse picture, and at each finer size what it lacks."""

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
    """Each level of a Laplacian pyramid is optimized by itself, from fine to coarse, each half the size of the last.

    Burt and Adelson 1983, https://doi.org/10.1109/TCOM.1983.1095851
    """

    levels: int | None = option(
        None, least=1, help="Number of levels; none for as many as leave the coarsest at least 4 pixels high and wide."
    )
    sd: float = option(0.01, least=0, help="The standard deviation of what it starts from.")

    def start(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> list[Tensor]:
        def draw(own: torch.Generator) -> list[Tensor]:
            return [self.sd * noise(own, self.channels, *extent) for extent in self.extents]

        return self.drawn(draw, device, dtype)

    @property
    def extents(self) -> list[tuple[int, int]]:
        """Height and width of each level, from fine to coarse."""
        found = [self.extent]
        while len(found) < self.levels if self.levels is not None else min(found[-1]) >= 8:
            height, width = found[-1]
            found.append(((height + 1) // 2, (width + 1) // 2))
        return found

    def values(self, parameters: Sequence[Tensor]) -> Tensor:
        *finer, picture = parameters
        for level in reversed(finer):
            picture = level + _to(picture, level)
        return picture

    def encoded(self, values: Tensor) -> list[Tensor]:
        levels, picture = [], values
        for extent in self.extents[1:]:
            coarser = F.interpolate(picture, extent, mode="bilinear", antialias=True)
            levels.append(picture - _to(coarser, picture))
            picture = coarser
        return [*levels, picture]


def _to(picture: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(picture, like.shape[2:], mode="bilinear", align_corners=False)

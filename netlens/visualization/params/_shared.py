"""Batches of pictures that share coarse pictures, so that they are aligned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NetLensError
from netlens.options import check, option
from netlens.visualization.params._base import Size, leaf
from netlens.visualization.params._invertible import Invertible, resampled
from netlens.visualization.params._wrapped import Wrapped
from netlens.visualization.params.color import from_image


@dataclass(frozen=True)
class Shared(Wrapped):
    """The pictures of another parameterization, plus coarse pictures that the whole batch shares.

    With an interpolation between two objectives, such a batch shows a gradual change, and not unrelated pictures. Each
    picture has a copy of the coarse pictures as parameters; the mean of all copies is added. The coarse pictures are 0
    at first. The pictures of the batch are not optimized independently.

    Mordvintsev et al. 2018, https://distill.pub/2018/differentiable-parameterizations
    """

    param: Invertible = option(help="The parameterization of each picture.")
    parts: tuple[int, ...] = option(
        (2, 4, 8, 16), least=1, help="Factors by which the shared pictures are smaller than the picture."
    )

    def __post_init__(self) -> None:
        if not isinstance(self.param, Invertible):
            raise NetLensError(f"Shared needs Pixel, Fourier or Pyramid, not {type(self.param).__name__}.")
        check(self)
        if not self.parts:
            raise NetLensError("Shared: parts names no factor; give at least one.")

    @property
    def inner(self) -> Invertible:
        return self.param

    @property
    def shared(self) -> bool:
        return True

    def start(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> list[Tensor]:
        tensors = self.param.start(device, dtype)
        shape = (self.batch, self.channels)
        return tensors + [leaf(tensors[0].new_zeros(*shape, *extent)) for extent in self._extents()]

    def values(self, parameters: Sequence[Tensor]) -> Tensor:
        n = len(self.parts)
        return self.param.values(parameters[:-n]) + self._common(parameters[-n:])

    def resized(self, parameters: Sequence[Tensor], size: Size) -> tuple[Shared, list[Tensor]]:
        param = Shared(replace(self.param, size=size), self.parts)
        n = len(self.parts)
        with torch.no_grad():
            pairs = zip(parameters[-n:], param._extents(), strict=True)
            shared = [_spread(coarse, extent) for coarse, extent in pairs]
            # the whole picture is resized, because without the shared part its values may be beyond black and white
            values = from_image(resampled(self.image(parameters), size), self.decorrelate, self.squash)
            tensors = param.param.encoded(values - param._common(shared))
        return param, [leaf(tensor) for tensor in [*tensors, *shared]]

    def with_channels(self, channels: int) -> Shared:
        return Shared(self.param.with_channels(channels), self.parts)

    def _extents(self) -> list[tuple[int, int]]:
        height, width = self.extent
        return [(-(-height // factor), -(-width // factor)) for factor in self.parts]

    def _common(self, pictures: Sequence[Tensor]) -> Tensor:
        return torch.stack([_spread(picture.mean(0, keepdim=True), self.extent) for picture in pictures]).sum(0)


def _spread(picture: Tensor, extent: tuple[int, int]) -> Tensor:
    return F.interpolate(picture, extent, mode="bilinear", align_corners=False)

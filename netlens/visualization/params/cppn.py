"""Pictures made by a small network from the place of each pixel, smooth at any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.visualization.params.base import Size, Sized, leaf, noise


@dataclass(frozen=True)
class CPPN(Sized):
    """A compositional pattern-producing network: the weights of a network from (y, x) to a colour are optimised.

    layers: how many hidden ones. width: their units. sd: the standard deviation of the colours that it starts from.
    Each picture has a network of its own; the same weights make the same picture at any size.

    Stanley 2007, https://doi.org/10.1007/s10710-007-9028-8; Mordvintsev et al. 2018,
    https://distill.pub/2018/differentiable-parameterizations
    """

    layers: int = 8
    width: int = 24
    sd: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers < 1 or self.width < 1:
            raise NetLensError(f"layers and width are at least 1, not {self.layers} and {self.width}.")

    def start(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> list[Tensor]:
        # a unit has two outputs, see `_activated`
        units = [2, *[2 * self.width] * self.layers]
        shapes = [(inputs, self.width) for inputs in units[:-1]] + [(units[-1], self.channels)]
        gains = [1.0] * self.layers + [self.sd]

        def draw(own: torch.Generator) -> list[Tensor]:
            weights = [
                gain * noise(own, *shape) / math.sqrt(shape[0]) for gain, shape in zip(gains, shapes, strict=True)
            ]
            return [tensor for weight in weights for tensor in (weight, weight.new_zeros(1, weight.shape[1]))]

        return self.drawn(draw, device, dtype)

    def values(self, parameters: Sequence[Tensor]) -> Tensor:
        signal = self._places(parameters[0])
        *hidden, last = list(zip(parameters[::2], parameters[1::2], strict=True))
        # under autocast, too few bits would be left for 256 grey levels
        with torch.autocast(signal.device.type, enabled=False):
            for weight, bias in hidden:
                signal = _activated(torch.baddbmm(bias, signal, weight))
            return torch.baddbmm(last[1], signal, last[0]).mT.unflatten(2, self.extent)

    def resized(self, parameters: Sequence[Tensor], size: Size) -> tuple[CPPN, list[Tensor]]:
        return replace(self, size=size), [leaf(tensor) for tensor in parameters]

    def _places(self, like: Tensor) -> Tensor:
        """(N, H * W, 2): the centres of the pixels, around 0 with a standard deviation of 1 in a square."""
        height, width = self.extent
        unit = math.sqrt(height * width / 12)
        axes = [
            (torch.arange(side, dtype=like.dtype, device=like.device) - (side - 1) / 2) / unit
            for side in (height, width)
        ]
        return torch.cartesian_prod(*axes).expand(len(like), -1, -1)


def _activated(signal: Tensor) -> Tensor:
    """An odd and an even function of each unit, with a mean of 0 and a standard deviation of 1 on normal signals."""
    bent = signal.atan()
    # without the mean taken out, most of the signal would be the same everywhere after a few layers
    return torch.cat([bent / 0.67, (bent.square() - 0.45) / 0.396], -1)

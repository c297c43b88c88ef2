"""Pictures that a small network computes from the coordinates of each pixel. They are smooth at any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NetLensError
from netlens.options import option
from netlens.visualization.params._base import Size, leaf, noise
from netlens.visualization.params._invertible import Startable, resampled
from netlens.visualization.params.color import from_image, to_image

UNIT = 0.4  # scale of parameters; at a learning rate of 0.05, a scale of 1 leaves many pictures uniform, 0.2 is slow


@dataclass(frozen=True, eq=False)
class CPPN(Startable):
    """A compositional pattern-producing network: it optimizes the weights of a network from (y, x) to a color.

    Each picture has its own network. The same weights give the same picture at any size. To start at a photo, the
    network's output, which is 0 at first, is added to the photo.

    Stanley 2007, https://doi.org/10.1007/s10710-007-9028-8; Mordvintsev et al. 2018,
    https://distill.pub/2018/differentiable-parameterizations
    """

    layers: int = option(8, least=1, help="Number of hidden layers.")
    width: int = option(24, least=1, help="Units of each hidden layer.")
    sd: float = option(0.1, least=0, help="Standard deviation of the noise from which it starts.")
    ground: Tensor | None = option(None, help="Values (N, C, H, W) that are added to its colors.", repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        shape = () if self.ground is None else tuple(self.ground.shape)
        if shape and (shape[0], *shape[2:]) != (self.batch, *self.extent):
            expected = f"({self.batch}, C, {self.extent[0]}, {self.extent[1]})"
            raise NetLensError(f"the ground of these pictures must be {expected}, not {shape}; use FromImage.")

    def plain(self, **options: Any) -> CPPN:
        return replace(self, **options, ground=None)

    def take(self, rows: range) -> CPPN:
        if self.ground is None:
            return self
        seeds = self.seeds[rows.start : rows.stop]
        return replace(self, batch=len(rows), seed=seeds, ground=self.ground[rows.start : rows.stop])

    def fitted(self, image: Tensor) -> CPPN:
        return replace(self, ground=from_image(image, self.decorrelate, self.squash))

    def encoded(self, values: Tensor) -> list[Tensor]:
        *hidden, weight, bias = self.start(values.device, values.dtype)
        return [*hidden, torch.zeros_like(weight), torch.zeros_like(bias)]

    def start(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> list[Tensor]:
        # a unit has two outputs, see `_activated`
        units = [2, *[2 * self.width] * self.layers]
        shapes = [(inputs, self.width) for inputs in units[:-1]] + [(units[-1], self.channels)]
        gains = [1.0] * self.layers + [self.sd]

        def draw(generator: torch.Generator) -> list[Tensor]:
            weights = [gain / UNIT * noise(generator, *shape) for gain, shape in zip(gains, shapes, strict=True)]
            return [tensor for weight in weights for tensor in (weight, weight.new_zeros(1, weight.shape[1]))]

        return self.drawn(draw, device, dtype)

    def values(self, parameters: Sequence[Tensor]) -> Tensor:
        signal = self._coordinates(parameters[0])
        *hidden, output_layer = list(zip(parameters[::2], parameters[1::2], strict=True))
        # under autocast, the colors would have too few bits for 256 gray levels
        with torch.autocast(signal.device.type, enabled=False):
            for weight, bias in hidden:
                signal = _activated(_mixed(signal, weight, bias))
            colors: Tensor = _mixed(signal, *output_layer).mT.unflatten(2, self.extent)
        return colors if self.ground is None else colors + self._ground(colors)

    def resized(self, parameters: Sequence[Tensor], size: Size) -> tuple[CPPN, list[Tensor]]:
        ground = self.ground
        if ground is not None:
            colors = self.decorrelate, self.squash
            ground = from_image(resampled(to_image(ground, *colors), size), *colors)
        return replace(self, size=size, ground=ground), [leaf(tensor) for tensor in parameters]

    def _ground(self, like: Tensor) -> Tensor:
        # the number of channels may have changed, by a channel for alpha
        ground = self.ground.to(like)[:, : self.channels]  # type: ignore[union-attr]
        return F.pad(ground, (0, 0, 0, 0, 0, self.channels - ground.shape[1]))

    def _coordinates(self, like: Tensor) -> Tensor:
        """(N, H * W, 2): the centers of the pixels, around 0 with a standard deviation of 1 in a square."""
        height, width = self.extent
        unit = math.sqrt(height * width / 12)
        axes = [
            (torch.arange(side, dtype=like.dtype, device=like.device) - (side - 1) / 2) / unit
            for side in (height, width)
        ]
        return torch.cartesian_prod(*axes).expand(len(like), -1, -1)


def _mixed(signal: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer, scaled so that the usual learning rates fit for any number of inputs."""
    return torch.baddbmm(bias, signal, weight) * (UNIT / math.sqrt(weight.shape[1]))


def _activated(signal: Tensor) -> Tensor:
    """Two functions of each unit, an odd and an even one. On a normal signal, both have mean 0 and deviation 1."""
    bent = signal.atan()
    # if the mean were not 0, most of the signal would be constant over the picture after a few layers
    return torch.cat([bent / 0.67, (bent.square() - 0.45) / 0.396], -1)

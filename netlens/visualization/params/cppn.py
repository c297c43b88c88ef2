"""Pictures made by a small network from the place of each pixel, smooth at any size."""

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
from netlens.visualization.params.base import Size, leaf, noise
from netlens.visualization.params.color import from_image, to_image
from netlens.visualization.params.invertible import Startable, resampled

UNIT = 0.4  # of parameters; with 1 a learning rate of 0.05 leaves many pictures even, with 0.2 they lag behind


@dataclass(frozen=True, eq=False)
class CPPN(Startable):
    """A compositional pattern-producing network: the weights of a network from (y, x) to a color are optimized.

    Each picture has a network of its own; the same weights make the same picture at any size. It starts at a photo by
    adding nothing to it.

    Stanley 2007, https://doi.org/10.1007/s10710-007-9028-8; Mordvintsev et al. 2018,
    https://distill.pub/2018/differentiable-parameterizations
    """

    layers: int = option(8, least=1, help="Number of hidden layers.")
    width: int = option(24, least=1, help="Units of each hidden layer.")
    sd: float = option(0.1, least=0, help="The standard deviation of what it starts from.")
    ground: Tensor | None = option(None, help="Values (N, C, H, W) to which its colors are added.", repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        shape = () if self.ground is None else tuple(self.ground.shape)
        if shape and (shape[0], *shape[2:]) != (self.batch, *self.extent):
            wanted = f"({self.batch}, C, {self.extent[0]}, {self.extent[1]})"
            raise NetLensError(f"the ground of these pictures is {wanted}, not {shape}; begin them with FromImage.")

    def plain(self, **about: Any) -> CPPN:
        return replace(self, **about, ground=None)

    def take(self, rows: range) -> CPPN:
        if self.ground is None:
            return self
        seeds = self.seeds[rows.start : rows.stop]
        return replace(self, batch=len(rows), seed=seeds, ground=self.ground[rows.start : rows.stop])

    def fitted(self, image: Tensor) -> CPPN:
        return replace(self, ground=from_image(image, self.decorrelate))

    def encoded(self, values: Tensor) -> list[Tensor]:
        *hidden, weight, bias = self.start(values.device, values.dtype)
        return [*hidden, torch.zeros_like(weight), torch.zeros_like(bias)]

    def start(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> list[Tensor]:
        # a unit has two outputs, see `_activated`
        units = [2, *[2 * self.width] * self.layers]
        shapes = [(inputs, self.width) for inputs in units[:-1]] + [(units[-1], self.channels)]
        gains = [1.0] * self.layers + [self.sd]

        def draw(own: torch.Generator) -> list[Tensor]:
            weights = [gain / UNIT * noise(own, *shape) for gain, shape in zip(gains, shapes, strict=True)]
            return [tensor for weight in weights for tensor in (weight, weight.new_zeros(1, weight.shape[1]))]

        return self.drawn(draw, device, dtype)

    def values(self, parameters: Sequence[Tensor]) -> Tensor:
        signal = self._places(parameters[0])
        *hidden, last = list(zip(parameters[::2], parameters[1::2], strict=True))
        # under autocast, too few bits would be left for 256 gray levels
        with torch.autocast(signal.device.type, enabled=False):
            for weight, bias in hidden:
                signal = _activated(_mixed(signal, weight, bias))
            made: Tensor = _mixed(signal, *last).mT.unflatten(2, self.extent)
        return made if self.ground is None else made + self._ground(made)

    def resized(self, parameters: Sequence[Tensor], size: Size) -> tuple[CPPN, list[Tensor]]:
        ground = self.ground
        if ground is not None:
            ground = from_image(resampled(to_image(ground, self.decorrelate), size), self.decorrelate)
        return replace(self, size=size, ground=ground), [leaf(tensor) for tensor in parameters]

    def _ground(self, like: Tensor) -> Tensor:
        # a channel for alpha may have come to it, or gone
        known = self.ground.to(like)[:, : self.channels]  # type: ignore[union-attr]
        return F.pad(known, (0, 0, 0, 0, 0, self.channels - known.shape[1]))

    def _places(self, like: Tensor) -> Tensor:
        """(N, H * W, 2): the centers of the pixels, around 0 with a standard deviation of 1 in a square."""
        height, width = self.extent
        unit = math.sqrt(height * width / 12)
        axes = [
            (torch.arange(side, dtype=like.dtype, device=like.device) - (side - 1) / 2) / unit
            for side in (height, width)
        ]
        return torch.cartesian_prod(*axes).expand(len(like), -1, -1)


def _mixed(signal: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A layer whose parameters have a unit that suits the learning rates of waves, however many inputs it has."""
    return torch.baddbmm(bias, signal, weight) * (UNIT / math.sqrt(weight.shape[1]))


def _activated(signal: Tensor) -> Tensor:
    """An odd and an even function of each unit, with a mean of 0 and a standard deviation of 1 on normal signals."""
    bent = signal.atan()
    # without the mean taken out, most of the signal would be the same everywhere after a few layers
    return torch.cat([bent / 0.67, (bent.square() - 0.45) / 0.396], -1)

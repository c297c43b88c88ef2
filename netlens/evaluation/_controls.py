"""Controls: explanations that know nothing of the network. A method that is no better than they are says nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.attribution import Method
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.options import option


@dataclass(frozen=True)
class RandomMap(Method):
    """A control that uses neither the image nor the network: uniform noise from the seed."""

    seed: int = option(0, least=0, help="Seed of the random numbers.")

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.rand(x.shape, generator=generator).to(x)


@dataclass(frozen=True)
class EdgeDetector(Method):
    """A control that uses the image, but not the network: the magnitude of the Sobel gradient of each channel."""

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]).to(x)
        kernels = torch.stack([across, across.T])[:, None]
        padded = F.pad(x.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
        return F.conv2d(padded, kernels).square().sum(1).sqrt().view_as(x)


@dataclass(frozen=True)
class CenterMap(Method):
    """A control that bets on the center: a Gaussian whose deviation is a quarter of each side."""

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        height, width = x.shape[-2:]
        rows, columns = (torch.linspace(-2, 2, side + 2)[1:-1].to(x) for side in (height, width))
        return torch.exp(-(rows[:, None].square() + columns.square()) / 2).expand_as(x).clone()


@dataclass(frozen=True)
class ConstantMap(Method):
    """A control that says nothing: 1 everywhere, so that pixels go row by row."""

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> Tensor:
        return torch.ones_like(x)


CONTROLS: tuple[type[Method], ...] = (RandomMap, EdgeDetector, CenterMap, ConstantMap)
"""The controls that are rows of each table."""

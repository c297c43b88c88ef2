"""A linear network, whose explanations are known, on small gray pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netlens.evaluation import Case, Explanation
from netlens.flat import FlatModel
from netlens.objectives import logit

SIDE = 4


def network(seed: int = 0, classes: int = 2, side: int = SIDE) -> FlatModel:
    """Class scores that are weighted sums of the pixels."""
    torch.manual_seed(seed)
    return FlatModel.from_nn_Module(nn.Sequential(nn.Flatten(), nn.Linear(side * side, classes)).double().eval())


def pictures(n: int = 3, seed: int = 1, side: int = SIDE) -> Tensor:
    return torch.rand(n, 1, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.1


def case(flat: FlatModel | None = None, n: int = 3, masks: Tensor | None = None, side: int = SIDE) -> Case:
    return Case(network(side=side) if flat is None else flat, pictures(n, side=side), logit(1), masks=masks)


def weights(flat: FlatModel) -> Tensor:
    """(H, W): those of the explained class."""
    (weight,) = (one for one in flat.parameters() if one.ndim == 2)
    side = int(weight.shape[1] ** 0.5)
    return weight[1].detach().view(side, side)


def truth(one: Case) -> Explanation:
    """The contribution of each pixel, which replacing it by 0 takes away."""
    return Explanation.of(one, one.x[:, 0] * weights(one.flat))

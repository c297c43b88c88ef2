"""What the tests of objectives share: a record made by hand, and a small network in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from netlens.flat import FlatModel
from netlens.flat.adapter import Adapter
from netlens.objectives import Objective, Record
from netlens.preprocessing import Preprocessing

IDENTITY = Preprocessing(size=None, resize=None, mean=(0.0,), std=(1.0,))


def pass_through(preprocessing: Preprocessing = IDENTITY) -> FlatModel:
    """A network whose layer "0" is its input."""
    return FlatModel.from_nn_Module(nn.Sequential(nn.Identity()).double(), adapter=Adapter(preprocessing=preprocessing))


@pytest.fixture(scope="session")
def value() -> Callable[..., Tensor]:
    """(objective, x): the objective of a layer "0" that holds x; (objective, x, flat): of that network's run on x."""
    plain = pass_through()

    def of(objective: Objective, x: Tensor, flat: FlatModel | None = None) -> Tensor:
        network = plain if flat is None else flat
        return objective(Record(network, network.record(x, layers=objective.layers)))

    return of


@pytest.fixture(scope="session")
def conv() -> FlatModel:
    torch.manual_seed(0)
    trunk = [nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(4, 5, 3), nn.Tanh()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)]
    return FlatModel.from_nn_Module(nn.Sequential(*trunk, *head).double())

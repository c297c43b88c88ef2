"""Class activation maps of signals and volumes have as many sides as their input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens import NetLens
from netlens.attribution import METHODS
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import logit
from tests.small import small

CAMS = [name for name in METHODS if name.endswith("cam") or name == "full_grad"]


class Scan(nn.Module):
    def __init__(self, rank: int) -> None:
        super().__init__()
        convolution = {1: nn.Conv1d, 3: nn.Conv3d}[rank]
        pool = {1: nn.AdaptiveAvgPool1d, 3: nn.AdaptiveAvgPool3d}[rank]
        self.first, self.second = convolution(2, 4, 3, padding=1), convolution(4, 5, 3, stride=2, padding=1)
        self.head = nn.Sequential(pool(1), nn.Flatten(), nn.Linear(5, 3))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(torch.relu(self.second(torch.relu(self.first(x)))))
        return scores


@pytest.mark.parametrize("sides", [(20,), (6, 7, 8)])
def test_grad_cam_is_its_formula(sides):
    torch.manual_seed(0)
    network = Scan(len(sides)).double().eval()
    x = torch.randn(2, 2, *sides, dtype=torch.float64)
    maps = torch.relu(network.second(torch.relu(network.first(x)))).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network.head(maps)[:, 1].sum(), maps)
    dims = tuple(range(2, x.ndim))
    expected = (gradient.mean(dims, keepdim=True) * maps).sum(1, keepdim=True).detach().clamp(min=0)
    lens = NetLens(network, x)
    result = lens.grad_cam(objective=logit(1))
    assert_close(result.values, expected, rtol=1e-10, atol=1e-14)
    assert result.heatmap().shape == (2, 1, *sides)


@pytest.mark.parametrize("name", CAMS)
@pytest.mark.parametrize("sides", [(20,), (6, 7, 8)])
def test_every_map_has_the_sides_of_its_input(name, sides):
    torch.manual_seed(0)
    lens = NetLens(FlatModel.from_nn_Module(Scan(len(sides)).double().eval()), torch.randn(2, 2, *sides).double())
    try:
        result = lens.attribute(small(name))
    except NotApplicable as refusal:
        assert name == "cam" and "pooled maps" in str(refusal)
        return
    assert result.spatial.ndim == 2 + len(sides) and result.heatmap().shape == (2, 1, *sides)

"""Half precision, in which powers vanish and sums overflow: the methods work in float32 where it counts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from netlens.attribution import (
    LRP,
    EigenCAM,
    FeatureAblation,
    GradCAMPlusPlus,
    GuidedIntegratedGradients,
    InformationBottleneck,
    SmoothGradCAMPlusPlus,
)
from netlens.attribution.method import Method
from netlens.evaluation import randomized
from netlens.flat import FlatModel
from netlens.objectives import logit

QUARTERS = (torch.arange(16) // 4).expand(16, -1)


def network(scale: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    trunk = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()
    net = randomized(nn.Sequential(*trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))).eval()
    with torch.no_grad():
        net[-1].weight *= scale
    return net


def agree(method: Method, scale: float, x: torch.Tensor) -> float:
    """The correlation of the values in float16 with those in float64."""
    half = method(FlatModel.from_nn_Module(network(scale).half()), x.half(), logit(1)).values
    double = method(FlatModel.from_nn_Module(network(scale).double()), x.half().double(), logit(1)).values
    return float(torch.corrcoef(torch.stack([half.double().flatten(), double.flatten()]))[0, 1])


@pytest.mark.parametrize("method", [GradCAMPlusPlus("4"), SmoothGradCAMPlusPlus("4", n_samples=3)])
def test_powers_of_small_gradients_do_not_vanish(method: Method) -> None:
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert agree(method, 0.02, x) > 0.99  # the square of such a gradient is 0 in float16


def test_distances_beyond_float16_do_not_end_the_path() -> None:
    x = 8 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert x.abs().sum() > torch.finfo(torch.float16).max
    assert agree(GuidedIntegratedGradients(n_steps=8), 1.0, x) > 0.95


def test_counts_beyond_float16_are_counted() -> None:
    flat = FlatModel.from_nn_Module(network().half())
    x = torch.randn(1, 3, 32, 32).half()
    mask = (torch.arange(32) // 8)[:, None] * 4 + torch.arange(32) // 8
    counted = FeatureAblation(feature_mask=mask)(flat, x, logit(1)).diagnostics
    assert all(numbers.isfinite().all() for numbers in counted.values()) and counted["macs"] > 65504


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_references_are_brought_to_the_type_of_the_network(dtype: torch.dtype) -> None:
    flat = FlatModel.from_nn_Module(network().to(dtype))
    method = InformationBottleneck(reference=torch.randn(6, 3, 16, 16), n_steps=2)
    assert method(flat, torch.randn(1, 3, 16, 16).to(dtype), logit(1)).values.isfinite().all()


@pytest.mark.parametrize(
    "method", [LRP(), EigenCAM("4"), FeatureAblation(feature_mask=torch.arange(16).view(1, 16) // 4)]
)
def test_half_an_input_under_autocast_is_explained_as_the_whole(method: Method) -> None:
    flat = FlatModel.from_nn_Module(network())
    x = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        half, whole = (method(flat, one, logit(1)).values for one in (x, x.float()))
    assert torch.equal(half, whole)

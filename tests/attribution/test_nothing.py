"""An explanation that found nothing says so, in a warning and in its diagnostics."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from netlens.attribution import GradCAM, Occlusion, Saliency
from netlens.errors import NetLensWarning
from netlens.flat import FlatModel
from netlens.objectives import logit


def network(bias: float) -> nn.Sequential:
    """Its score falls with each pixel, and its rectifier is dead where the image is dark if the bias is negative."""
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    nn.init.constant_(net[0].weight, 1.0)
    nn.init.constant_(net[0].bias, bias)
    nn.init.constant_(net[4].weight, -1.0)
    return net.eval()


def test_a_map_without_positive_evidence_is_told():
    flat, x = FlatModel.from_nn_Module(network(0.5)), torch.rand(1, 1, 6, 6)
    with pytest.warns(NetLensWarning, match=r"GradCAM found nothing: .* at '1' are 0, .*relu=False"):
        empty = GradCAM(layer="1")(flat, x, logit(0))
    assert empty.diagnostics["found_nothing"].tolist() == [1.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        full = GradCAM(layer="1", relu=False)(flat, x, logit(0))
    assert "found_nothing" not in full.diagnostics


@pytest.mark.parametrize("method", [Saliency(), Occlusion(3, 3)])
def test_only_the_samples_without_values_are_named(method):
    flat = FlatModel.from_nn_Module(network(-0.5))
    x = torch.stack([torch.full((1, 6, 6), value) for value in (0.1, 0.9, 0.2)])
    with pytest.warns(NetLensWarning, match="found nothing for sample 0, 2: all values for logit"):
        result = method(flat, x, logit(0))
    assert result.diagnostics["found_nothing"].tolist() == [1.0, 0.0, 1.0]
    assert result[1].diagnostics["found_nothing"].tolist() == [0.0]

"""Redirected rectifiers wake what is dead, and leave alone what lives."""

import pytest
import torch
from torch import nn

from netlens.flat import FlatModel, Rules
from netlens.rules import REDIRECTED
from netlens.rules.redirected import STRAIGHT

RANGES = {
    "relu": (nn.ReLU(), 0.0, None),
    "relu6": (nn.ReLU6(), 0.0, 6.0),
    "hardtanh": (nn.Hardtanh(-2.0, 1.0), -2.0, 1.0),
    "threshold": (nn.Threshold(0.5, 0.0), 0.5, None),
    "hardswish": (nn.Hardswish(), -3.0, None),
    "hardsigmoid": (nn.Hardsigmoid(), -3.0, 3.0),
}


def gradients(layer, x, above):
    """The gradient at x by the true rule and by the redirected one, given that above."""
    flat = FlatModel.from_nn_Module(nn.Sequential(layer))
    derivatives = []
    for network in (flat, flat.with_rules(REDIRECTED)):
        leaf = x.clone().requires_grad_()
        derivatives.append(torch.autograd.grad(network(leaf), leaf, above)[0])
    return derivatives


@pytest.mark.parametrize("name", RANGES)
def test_dead_samples_pass_what_points_into_the_live_range(name):
    layer, low, high = RANGES[name]
    x = torch.full((2, 4), low - 1.0, dtype=torch.float64)
    above = torch.tensor([[1.0, -2.0, 0.0, 3.0]], dtype=torch.float64).expand(2, 4)
    if high is not None:
        x[1] = high + 1.0
    true, redirected = gradients(layer, x, above)
    assert not true.any()
    torch.testing.assert_close(redirected[0], above[0].clamp(min=0), rtol=0, atol=0)
    expected = above[1].clamp(min=0) if high is None else above[1].clamp(max=0)
    torch.testing.assert_close(redirected[1], expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", RANGES)
def test_a_sample_with_one_live_unit_keeps_the_derivative_whatever_its_neighbors(name):
    layer, low, _ = RANGES[name]
    x = torch.full((2, 3, 2, 2), low - 1.0, dtype=torch.float64)
    x[0, 2, 1, 0] = low + 0.25
    above = torch.rand(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    true, redirected = gradients(layer, x, above)
    assert true[0].any() and torch.equal(redirected[0], true[0])
    assert torch.equal(redirected[1], above[1])


def test_a_unit_just_at_the_end_of_its_range_is_woken():
    x = torch.zeros(1, 2, dtype=torch.float64)  # a network without biases shows a gray picture nothing else
    above = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
    assert torch.equal(gradients(nn.ReLU(), x, above)[1], torch.tensor([[2.0, 0.0]], dtype=torch.float64))


def test_a_sample_that_nothing_from_above_reaches_gets_nothing():
    x = torch.full((2, 3), -1.0, dtype=torch.float64)
    above = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    assert torch.equal(gradients(nn.ReLU(), x, above)[1], above)


def test_the_forward_is_untouched():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3), nn.ReLU6()).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flat = FlatModel.from_nn_Module(network)
    assert torch.equal(flat.with_rules(REDIRECTED)(x.requires_grad_()), network(x))


@pytest.mark.parametrize("name", RANGES)
def test_straight_through_passes_all_where_nothing_got_through(name):
    layer, low, high = RANGES[name]
    x = torch.full((3, 4), low - 1.0, dtype=torch.float64)
    x[1] = low - 1.0 if high is None else high + 1.0
    x[2, 1] = low + 0.25
    above = torch.tensor([[1.0, -2.0, 0.5, 3.0]], dtype=torch.float64).expand(3, 4)
    network = FlatModel.from_nn_Module(nn.Sequential(layer))
    leaf = x.clone().requires_grad_()
    (true,) = torch.autograd.grad(network(leaf), leaf, above)
    (straight,) = torch.autograd.grad(network.with_rules(Rules({"0": STRAIGHT}))(leaf), leaf, above)
    assert torch.equal(straight[:2], above[:2]) and torch.equal(straight[2], true[2]) and true[2].any()

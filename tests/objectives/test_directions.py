"""Directions in a layer's channels, and channels and neurons of which each sample has its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.testing import assert_close

from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import Record, channel, direction, direction_at, neuron

# two channels at 1 x 2 positions: (3, 4) and (0, -2)
X = torch.tensor([[[[3.0, 0.0]], [[4.0, -2.0]]]], dtype=torch.float64)
V = torch.tensor([0.0, 2.0], dtype=torch.float64)
RANDOM = torch.randn(3, 4, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_by_hand(value):
    assert value(direction("0", V), X).item() == pytest.approx((8 - 4) / 2)
    assert value(direction_at("0", V, 0, 0), X).item() == pytest.approx(8)
    assert value(direction_at("0", V), X).item() == pytest.approx(-4)  # the middle of 1 x 2 is (0, 1)
    # cosines 0.8, and -1 that counts as 0.1
    assert value(direction_at("0", V, 0, 0, cosine_power=2), X).item() == pytest.approx(8 * 0.8**2)
    assert value(direction_at("0", V, 0, 1, cosine_power=2), X).item() == pytest.approx(-4 * 0.1**2)
    assert value(direction("0", V, cosine_power=0.5), X).item() == pytest.approx(
        (8 * math.sqrt(0.8) - 4 * math.sqrt(0.1)) / 2
    )


@pytest.mark.parametrize("power", [0, 1, 2.5])
def test_a_direction_for_each_sample_is_that_sample_alone(value, power):
    vectors = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for make in (direction, direction_at):
        several = make("0", vectors, cosine_power=power)
        each = torch.cat(
            [value(make("0", v, cosine_power=power), x[None]) for v, x in zip(vectors, RANDOM, strict=True)]
        )
        assert_close(value(several, RANDOM), each)
        assert_close(value(several.take([2, 0, 2]), RANDOM[[2, 0, 2]]), each[[2, 0, 2]])
        one = make("0", vectors[0], cosine_power=power)
        assert one.take([1]) is one


def test_gradients(value):
    x = RANDOM[:1].clone().requires_grad_()
    vector = torch.ones(4, dtype=torch.float64)
    assert gradcheck(lambda x: value(direction("0", vector, cosine_power=1.5), x), x)
    assert gradcheck(lambda x: value(direction_at("0", vector, 1, 2, cosine_power=2), x), x)


def test_a_dead_map_has_a_finite_gradient_that_points_along(value):
    x = torch.zeros(1, 2, 1, 2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(value(direction("0", V, cosine_power=1), x).sum(), x)
    assert_close(gradient, (V * 0.1 / 2)[None, :, None, None].expand(1, 2, 1, 2))


def test_mistakes(value):
    with pytest.raises(NetLensError, match=r"vector has shape \(3,\), but layer '0' needs \(4,\)"):
        value(direction_at("0", torch.zeros(3)), RANDOM)
    with pytest.raises(NetLensError, match=r"vector has shape \(2, 4\), but layer '0' needs \(4,\) or \(3, 4\)"):
        value(direction("0", torch.zeros(2, 4)), RANDOM)
    with pytest.raises(NetLensError, match=r"no position \(5, 0\); the map of '0' is 5 by 6"):
        value(direction_at("0", torch.zeros(4), 5, 0), RANDOM)
    for power in (-1, math.nan):
        with pytest.raises(NetLensError, match=r"cosine_power is .*, but must be"):
            direction("0", V, cosine_power=power)


# channels and neurons


@pytest.mark.parametrize("index", [[3, 0, 2], torch.tensor([3, 0, 2]), np.array([3, 0, 2]), (3, 0, 2)])
def test_a_channel_for_each_sample(value, index):
    assert_close(value(channel("0", index), RANDOM), RANDOM[range(3), [3, 0, 2]].mean((1, 2)))
    assert_close(value(neuron("0", index, 4, 0), RANDOM), RANDOM[range(3), [3, 0, 2], 4, 0])
    for make in (channel, neuron):
        selection = make("0", index).take([2, 2, 0, 1])
        assert_close(value(selection, RANDOM[[2, 2, 0, 1]]), value(make("0", index), RANDOM)[[2, 2, 0, 1]])


@pytest.mark.parametrize("index", [0, torch.tensor(0), np.int64(0), np.array(0)])
def test_channel_0_is_a_channel_like_any_other(value, index):
    assert_close(value(channel("0", index), RANDOM), RANDOM[:, 0].mean((1, 2)))
    assert_close(value(neuron("0", index, 0, 0), RANDOM), RANDOM[:, 0, 0, 0])
    assert_close(value(channel("0", index).take([1]), RANDOM[1:2]), RANDOM[1:2, 0].mean((1, 2)))


@pytest.mark.parametrize("index", [4, -1, [0, 1, 4], [0, -1, 1]])
def test_a_channel_out_of_range_names_the_range(value, index):
    for make in (channel, neuron):
        with pytest.raises(NetLensError, match=r"no channel (4|-1); its channels are 0 to 3"):
            value(make("0", index), RANDOM)


@pytest.mark.parametrize("index", [1.0, None, "2", [0, 1.5, 2], torch.tensor([0.0, 1.0, 2.0])])
def test_what_is_no_channel_is_refused(value, index):
    with pytest.raises(NetLensError, match=r"a channel is .*, but must be a whole number"):
        value(channel("0", index), RANDOM)


def test_as_many_channels_as_samples(value):
    with pytest.raises(NetLensError, match="index has 2 channels for 3 samples"):
        value(channel("0", [0, 1]), RANDOM)


def test_vectors_are_maps_of_one_position():
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Flatten(), nn.Linear(6, 4)).double())
    x = torch.randn(2, 1, 2, 3, dtype=torch.float64)
    vector = torch.arange(4.0)
    record = Record(flat, flat.record(x, layers=["1"]))
    for objective in (direction("1", vector), direction_at("1", vector)):
        assert_close(objective(record), flat(x) @ vector.double())


def test_names():
    assert repr(direction("a", V, cosine_power=2) - direction_at("b", V, 1, 2)) == (
        "direction('a', cosine_power=2) - direction_at('b', 1, 2)"
    )
    assert repr(channel("a", torch.tensor([1, 2]))) == "channel('a', [1, 2])"


def test_an_array_is_a_direction_and_so_is_what_inference_mode_made():
    flat = FlatModel.from_nn_Module(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).double())
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    vector = torch.arange(4.0, dtype=torch.float64)
    with torch.inference_mode():
        inferred = vector * 1
    record = Record(flat, flat.record(x, layers="1"))
    wanted = direction("1", vector)(record)
    for one in (vector.numpy(), vector.tolist(), inferred):
        (gradient,) = torch.autograd.grad(direction("1", one)(record).sum(), x, retain_graph=True)
        assert torch.equal(direction("1", one)(record), wanted) and gradient.any()

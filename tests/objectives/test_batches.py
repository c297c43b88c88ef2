"""Objectives over a batch as a whole: each sample's share, worked by hand, and which way it moves."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck
from torch.testing import assert_close

from netlens.errors import NetLensError
from netlens.flat.keys import SCORES
from netlens.objectives import alignment, channel, content, diversity, interpolation, logit, neuron

RANDOM = torch.randn(4, 3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
# Gram matrices [[1, 0], [0, 0]], [[0, 0], [0, 4]] and [[1, 1], [1, 1]]
THREE = torch.tensor([[[1.0], [0.0]], [[0.0], [2.0]], [[1.0], [1.0]]], dtype=torch.float64)[..., None]


def test_diversity_by_hand(value):
    assert_close(value(diversity("0"), THREE), torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64))
    assert_close(value(diversity("0"), RANDOM[:1].expand(3, -1, -1, -1)), torch.ones(3, dtype=torch.float64))


def test_diversity_knows_no_place_no_order_and_no_scale(value):
    moved = RANDOM.flatten(2)[:, :, torch.randperm(30, generator=torch.Generator().manual_seed(1))].view_as(RANDOM)
    expected = value(diversity("0"), RANDOM)
    assert_close(value(diversity("0"), moved), expected)
    assert_close(value(diversity("0"), RANDOM * 7), expected)
    assert_close(value(diversity("0"), RANDOM.flip(0)), expected.flip(0))


@pytest.mark.parametrize("seed", range(3))
def test_subtracting_diversity_pushes_samples_apart(value, seed):
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    for _ in range(20):
        (gradient,) = torch.autograd.grad(value(-diversity("0"), x.requires_grad_()).sum(), x)
        before = value(diversity("0"), x.detach()).sum()
        x = (x + 5 * gradient).detach()
        assert value(diversity("0"), x).sum() < before


def test_a_batch_of_one_owes_nothing(value):
    x = RANDOM[:1].clone().requires_grad_()
    for objective in (diversity("0"), alignment("0")):
        cost = value(objective, x)
        (gradient,) = torch.autograd.grad(cost.sum(), x)
        assert cost.item() == 0 and gradient.abs().max() == 0


def test_alignment_by_hand(value):
    x = torch.tensor([0.0, 1.0, 3.0, 3.0, 3.0, 3.0], dtype=torch.float64).view(6, 1, 1, 1)
    # squares between samples 1, 2, 3 and 4 apart, and half of each to either
    expected = torch.zeros(6, dtype=torch.float64)
    for i in range(6):
        for j in range(i + 1, min(i + 5, 6)):
            half = (x[i] - x[j]).item() ** 2 / 3 ** (j - i) / 2
            expected[i] += half
            expected[j] += half
    assert expected[0] == (1 / 3 + 9 / 9 + 9 / 27 + 9 / 81) / 2
    assert_close(value(alignment("0", decay=3), x), expected)
    assert_close(value(alignment("0"), RANDOM[:2]), (RANDOM[0] - RANDOM[1]).square().mean().expand(2) / 4)


def test_interpolation_goes_from_one_to_the_other(value):
    objective = interpolation(channel("0", 0), neuron("0", 1, 2, 2))
    first, last = value(channel("0", 0), RANDOM), value(neuron("0", 1, 2, 2), RANDOM)
    share = torch.tensor([0, 1 / 3, 2 / 3, 1], dtype=torch.float64)
    assert_close(value(objective, RANDOM), (1 - share) * first + share * last)
    assert_close(value(objective, RANDOM[:1]), first[:1])


def test_interpolation_keeps_its_shares_when_the_batch_is_cut(conv, value):
    x = torch.randn(4, 3, 10, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    objective = interpolation(logit([0, 1, 2, 0]), -content("3", x[:1]))
    assert objective.layers == (SCORES, "3")
    settled = objective.settled(conv, x)
    assert settled.settled(conv, x) is settled
    whole = value(settled, x, conv)
    assert_close(whole, value(objective, x, conv))
    assert_close(value(settled.take([2, 1]), x[[2, 1]], conv), whole[[2, 1]])
    with pytest.raises(NetLensError, match="settle it on the whole batch before"):
        objective.take([1])
    with pytest.raises(NetLensError, match="settled on 4 samples, so it cannot be computed for 2"):
        value(interpolation(logit(0), logit(1)).settled(conv, x), x[:2], conv)


@pytest.mark.parametrize(
    "objective", [diversity("0"), alignment("0"), interpolation(channel("0", 0), channel("0", 1))], ids=repr
)
def test_gradients(value, objective):
    assert gradcheck(lambda x: value(objective, x), RANDOM[:3, :2, :2, :2].clone().requires_grad_())


def test_mistakes(value):
    with pytest.raises(NetLensError, match="decay is 0, but must be a finite number above 0"):
        alignment("0", 0)
    with pytest.raises(TypeError, match="two objectives cannot be multiplied"):
        diversity("0") * alignment("0")


def test_names():
    assert repr(channel("a", 1) - 0.5 * diversity("a") - alignment("b")) == (
        "channel('a', 1) - 0.5 * diversity('a') - alignment('b', 2)"
    )
    assert repr(interpolation(channel("a", 1), logit(2))) == "interpolation(channel('a', 1), logit(2))"

"""Statistics of features: worked by hand, and the laws that each of them keeps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.testing import assert_close

from netlens.errors import NetLensError, NotApplicable
from netlens.objectives import Contextual, Gram, Histogram, MeanStd, SlicedWasserstein
from netlens.objectives._transport import (
    sorted_values,
    transport,
)

ALL = [Gram(), MeanStd(), SlicedWasserstein(), SlicedWasserstein(7, seed=3), Histogram(), Contextual()]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def distance(statistic, mine: Tensor, theirs: Tensor, weights: Tensor | None = None, other: Tensor | None = None):
    return statistic.distance(statistic.of(mine, weights), statistic.of(theirs, other))


# by hand


def test_gram_by_hand():
    # two channels at three positions
    features = torch.tensor([[[1.0, 0, 2], [3, -1, 0]]], dtype=torch.float64)
    assert_close(Gram().of(features, None), torch.tensor([[[5.0, 3], [3, 10]]], dtype=torch.float64) / 6)
    weights = torch.tensor([1.0, 0, 0.5], dtype=torch.float64)
    assert_close(Gram().of(features, weights), torch.tensor([[[3.0, 3], [3, 9]]], dtype=torch.float64) / 3)
    zero = torch.zeros_like(features)
    assert distance(Gram(), zero, features).item() == pytest.approx((25 + 9 + 9 + 100) / 36)


def test_mean_and_standard_deviation_by_hand():
    features = torch.tensor([[[1.0, 3, 5, 7], [2, 2, 2, 2]]], dtype=torch.float64)
    expected = torch.tensor([[[4.0, 2], [math.sqrt(5), 0]]], dtype=torch.float64)
    assert_close(MeanStd().of(features, None), expected)
    assert distance(MeanStd(), torch.zeros_like(features), features).item() == pytest.approx((16 + 5 + 4) / 2)
    first = torch.tensor([1.0, 1, 0, 0], dtype=torch.float64)
    assert_close(MeanStd().of(features, first), torch.tensor([[[2.0, 2], [1, 0]]], dtype=torch.float64))


def test_transport_by_hand():
    a, b = torch.tensor([[[3.0, 1]]], dtype=torch.float64), torch.tensor([[[2.0, 6]]], dtype=torch.float64)
    assert transport(sorted_values(a, None), sorted_values(b, None)).item() == pytest.approx((1 + 9) / 2)
    one = torch.tensor([[[2.0]]], dtype=torch.float64)
    assert transport(sorted_values(a, None), sorted_values(one, None)).item() == pytest.approx(1)
    # a third of {0, 3, 6} goes half to 1 and half to 5: quantiles 0 | 3 3 | 6 against 1 1 | 5 5
    three, two = torch.tensor([[[6.0, 0, 3]]], dtype=torch.float64), torch.tensor([[[5.0, 1]]], dtype=torch.float64)
    expected = 1 / 3 * 1 + 1 / 6 * 4 + 1 / 6 * 4 + 1 / 3 * 1
    assert transport(sorted_values(three, None), sorted_values(two, None)).item() == pytest.approx(expected)
    # weights: three quarters of a are at 3, of which a quarter goes to 2 and the rest to 6
    weighted = sorted_values(a, torch.tensor([3.0, 1], dtype=torch.float64))
    assert transport(weighted, sorted_values(b, None)).item() == pytest.approx(1 / 4 + 1 / 4 + 9 / 2)


@pytest.mark.parametrize(("p", "q"), [(6, 6), (6, 3), (4, 6), (1, 5)])
def test_transport_between_sets_of_any_sizes_is_that_of_each_repeated(p, q):
    a, b = random(2, 3, p), random(2, 3, q, seed=1)
    same = torch.stack([values.repeat_interleave(60 // values.shape[-1], -1).sort(-1).values for values in (a, b)])
    expected = (same[0] - same[1]).square().mean((1, 2))
    assert_close(transport(sorted_values(a, None), sorted_values(b, None)), expected)


def test_whole_weights_count_as_copies():
    a, b = random(2, 3, 5), random(2, 3, 8, seed=1)
    weights = torch.tensor([2.0, 0, 1, 3, 0], dtype=torch.float64)
    copied = a.repeat_interleave(weights.long(), 2)
    for statistic in (Gram(), MeanStd(), SlicedWasserstein(), Histogram()):
        assert_close(distance(statistic, a, b, weights), distance(statistic, copied, b))
        assert_close(distance(statistic, a, b, weights * 0.1), distance(statistic, copied, b))
        assert_close(distance(statistic, b, a, None, weights), distance(statistic, b, copied))


def test_contextual_by_hand():
    # relative to the style's mean (0, 0) the features are unit vectors along the axes: distances 0, 1 and 2
    style = torch.tensor([[[1.0, 0, -1, 0], [0, 1, 0, -1]]], dtype=torch.float64)
    mine = torch.tensor([[[2.0, 0], [0, 5]]], dtype=torch.float64)
    near, side, far = (math.exp((1 - d / 1e-5) / 0.5) / math.exp(2) for d in (0, 1, 2))
    total = near + 2 * side + far
    # each feature of mine is all the context of one of the style's, and nothing like the other two
    assert near / total == 1 and side == 0
    assert distance(Contextual(), mine, style).item() == pytest.approx(-math.log(2 / 4))
    # with a bandwidth of 1e5 the same distances are told apart softly
    near, side, far = (math.exp(-d / 1e-5 / 1e5) for d in (0, 1, 2))
    expected = -math.log((2 * near + 2 * side) / (near + 2 * side + far) / 4)
    assert distance(Contextual(1e5), mine, style).item() == pytest.approx(expected)


# laws


@pytest.mark.parametrize("statistic", ALL, ids=repr)
def test_style_knows_no_place(statistic):
    mine, theirs = random(2, 4, 9), random(1, 4, 12, seed=1)
    moved = mine[:, :, torch.randperm(9, generator=torch.Generator().manual_seed(2))]
    expected = distance(statistic, mine, theirs)
    assert (expected > 0).all()
    assert_close(distance(statistic, moved, theirs), expected)
    assert_close(distance(statistic, mine, theirs.flip(2)), expected)


@pytest.mark.parametrize("statistic", ALL, ids=repr)
def test_the_same_features_are_at_no_distance(statistic):
    features = random(2, 4, 9)
    assert (
        distance(statistic, features, features.roll(3, 2)).abs().max()
        < 1e-3 * isinstance(statistic, Contextual) + 1e-25
    )


def test_what_each_statistic_tells_apart():
    # the same values in each channel, combined otherwise: only what reads channels together sees it
    a = torch.tensor([[[0.0, 1, 2], [0, 1, 2]]], dtype=torch.float64)
    b = torch.tensor([[[0.0, 1, 2], [1, 2, 0]]], dtype=torch.float64)
    assert distance(Histogram(), a, b).item() == 0
    assert distance(MeanStd(), a, b).item() < 1e-25
    assert distance(Gram(), a, b).item() > 0.1
    assert distance(SlicedWasserstein(), a, b).item() > 0.01
    # the same second moments, distributed otherwise: only a whole distribution differs
    u = torch.tensor([[[-1.0, 1, -1, 1]]], dtype=torch.float64)
    v = torch.tensor([[[-math.sqrt(2), 0, 0, math.sqrt(2)]]], dtype=torch.float64)
    assert distance(Gram(), u, v).item() < 1e-25
    assert distance(MeanStd(), u, v).item() < 1e-25
    assert distance(SlicedWasserstein(), u, v).item() == pytest.approx((2 * (math.sqrt(2) - 1) ** 2 + 2) / 4)
    assert distance(Histogram(), u, v).item() == pytest.approx((2 * (math.sqrt(2) - 1) ** 2 + 2) / 4)


@pytest.mark.parametrize("seed", range(5))
def test_sliced_wasserstein_sees_one_feature_that_moved(seed):
    features = random(1, 6, 20, seed=seed)
    moved = features.clone()
    moved[0, seed, 3] += 0.1
    # by far less than all features together would, and by more than rounding
    assert 1e-7 < distance(SlicedWasserstein(seed=seed), features, moved).item() < 0.1**2 / 20


def test_sliced_wasserstein_is_that_of_its_directions():
    mine, theirs = random(2, 4, 9), random(1, 4, 12, seed=1)
    assert_close(distance(SlicedWasserstein(), mine, theirs), distance(SlicedWasserstein(4), mine, theirs))
    assert (distance(SlicedWasserstein(seed=1), mine, theirs) != distance(SlicedWasserstein(), mine, theirs)).all()
    # by very many directions, one of length 1 sees of a shift its mean square over channels
    shift = random(1, 4, 1, seed=2)
    many = distance(SlicedWasserstein(20000), mine[:1], mine[:1] + shift)
    assert_close(many, shift.square().mean((1, 2)), rtol=0.02, atol=0)


@pytest.mark.parametrize("seed", range(5))
def test_contextual_similarity_is_between_0_and_1(seed):
    mine, theirs = random(3, 4, 9, seed=seed), random(1, 4, 12, seed=seed + 10)
    cost = distance(Contextual(), mine, theirs)
    assert (cost > 0).all() and cost.isfinite().all()
    # of P features, each the context of one alone, at most P of Q can be met
    assert (cost >= math.log(12 / 9) - 1e-12).all()


def test_contextual_similarity_is_seen_from_the_middle_of_the_style():
    mine, theirs, shift = random(3, 4, 9), random(1, 4, 12, seed=1), random(1, 4, 1, seed=2)
    assert_close(distance(Contextual(), mine + shift, theirs + shift), distance(Contextual(), mine, theirs))


@pytest.mark.parametrize("statistic", ALL, ids=repr)
def test_gradients(statistic):
    theirs = random(1, 3, 7, seed=1)
    assert gradcheck(lambda x: distance(statistic, x, theirs), random(1, 3, 5).requires_grad_())
    weights = torch.tensor([0.5, 1, 0, 2, 1], dtype=torch.float64)
    assert gradcheck(lambda x: distance(statistic, x, theirs, weights), random(1, 3, 5).requires_grad_())


@pytest.mark.parametrize("statistic", ALL, ids=repr)
def test_each_sample_by_itself(statistic):
    mine, shared, targets = random(3, 4, 9), random(1, 4, 12, seed=1), random(3, 4, 12, seed=2)
    assert_close(distance(statistic, mine, shared), torch.cat([distance(statistic, one[None], shared) for one in mine]))
    pairs = zip(mine, targets, strict=True)
    assert_close(
        distance(statistic, mine, targets), torch.cat([distance(statistic, a[None], b[None]) for a, b in pairs])
    )


@pytest.mark.parametrize("statistic", ALL, ids=repr)
def test_dead_features_have_a_finite_gradient(statistic):
    x = torch.zeros(1, 4, 9, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(distance(statistic, x, random(1, 4, 12)).sum(), x)
    assert gradient.isfinite().all()


def test_contextual_draws_the_same_positions_each_time_and_none_without_weight():
    features = torch.arange(50.0).expand(1, 2, 50)
    drawn = Contextual(points=20).of(features, None)
    assert drawn.shape == (1, 2, 20) and len(drawn[0, 0].unique()) == 20
    assert torch.equal(drawn, Contextual(points=20).of(features, None))
    assert not torch.equal(drawn, Contextual(points=20, seed=1).of(features, None))
    weights = torch.zeros(50)
    weights[10:15] = 1
    assert Contextual(points=20).of(features, weights)[0, 0].tolist() == [10, 11, 12, 13, 14]


def test_mistakes():
    for wrong in (lambda: SlicedWasserstein(0), lambda: Contextual(0), lambda: Contextual(points=1)):
        with pytest.raises(NetLensError, match="must be"):
            wrong()
    with pytest.raises(NotApplicable, match="at several positions"):
        Contextual().of(random(1, 4, 1), None)

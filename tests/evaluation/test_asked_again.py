"""Metrics that ask a method again: for disturbed images, other classes, random networks and shifted inputs."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from netlens.attribution import (
    DeepLift,
    GradCAM,
    InputXGradient,
    IntegratedGradients,
    LayerActivation,
    Method,
    Saliency,
)
from netlens.errors import NetLensError, NotApplicable
from netlens.evaluation import Case, EdgeDetector, Explanation, randomized
from netlens.evaluation.metrics import (
    AverageSensitivity,
    CompletenessGap,
    Continuity,
    InputInvariance,
    LocalLipschitz,
    MaxSensitivity,
    NonSensitivity,
    ParameterRandomization,
    RandomClass,
    correlation,
)
from netlens.evaluation.metrics._ranks import alike
from netlens.flat import FlatModel
from netlens.objectives import channel, logit
from tests.evaluation.convolution import Convolution
from tests.evaluation.linear import case, network, pictures, truth, weights


@pytest.fixture(scope="module")
def small() -> Case:
    flat = FlatModel.from_nn_Module(randomized(Convolution(), seed=1).double())
    return Case(flat, pictures(2, side=8), logit([0, 2]))


@dataclass(frozen=True)
class Itself(Method):
    """Explains by the image, so that it moves as the image does."""

    def attribute(self, flat: FlatModel, x: Tensor, objective, wrt: str) -> Tensor:
        return x.clone()


def test_a_linear_network_has_one_gradient_for_all_images():
    one = Explanation.of(case(), Saliency())
    for metric in (MaxSensitivity(), AverageSensitivity(), LocalLipschitz()):
        assert_close(metric(one), torch.zeros(3).double())


def test_an_explanation_that_is_the_image_moves_as_the_image_does(small):
    one = Explanation.of(small, Itself())
    moved, distance = MaxSensitivity(samples=4, radius=0.01).changes(one)
    assert_close(moved, distance / small.x.flatten(1).norm(dim=1, keepdim=True))
    assert_close(LocalLipschitz(samples=2)(one), 1 / small.x.flatten(1).norm(dim=1))
    assert_close(MaxSensitivity(samples=4, radius=0.01)(one), moved.amax(1))
    assert_close(AverageSensitivity(samples=4, radius=0.01)(one), moved.mean(1))
    assert_close(Continuity(pixels=2)(one), torch.ones(2).double())


def test_noise_stays_within_the_radius_and_repeats_with_the_seed(small):
    one = Explanation.of(small, Itself())
    first, second, other = (MaxSensitivity(seed=seed).changes(one)[1] for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert (first <= 0.02 * 8).all()


def test_the_rank_correlation_is_that_of_scipy():
    from scipy.stats import spearmanr

    a, b = torch.randint(-4, 5, (2, 1, 5, 5), generator=torch.Generator().manual_seed(0)).double()
    expected = spearmanr(a.abs().flatten(), b.abs().flatten()).statistic
    assert alike(a, b).tolist() == pytest.approx([expected])
    assert alike(a, torch.zeros(1, 5, 5).double()).tolist() == [0]


def test_a_method_that_ignores_class_and_weights_fails_both_sanity_checks(small):
    for method in (EdgeDetector(), LayerActivation()):
        one = Explanation.of(small, method)
        assert_close(RandomClass()(one), torch.ones(2).double())
        assert_close(ParameterRandomization()(one), torch.ones(2).double())
    assert (RandomClass()(Explanation.of(small, GradCAM())) < 0.99).all()


def test_the_last_stage_has_random_weights_everywhere_and_the_network_stays(small):
    before = [parameter.clone() for parameter in small.flat.parameters()]
    stages = ParameterRandomization(stages=2).randomized(small.flat)
    same = [[torch.equal(a, b) for a, b in zip(flat.parameters(), before, strict=True)] for flat in stages]
    assert same == [[True, True, False, False], [False] * 4]
    assert all(torch.equal(a, b) for a, b in zip(small.flat.parameters(), before, strict=True))
    assert (ParameterRandomization(stages=2)(Explanation.of(small, Saliency())) < 0.999).all()


def test_completeness_is_that_of_the_methods_that_promise_it(small):
    for method in (IntegratedGradients(n_steps=64), DeepLift()):
        assert (CompletenessGap()(Explanation.of(small, method)) < 0.02).all()
    one = case()
    assert_close(CompletenessGap()(truth(one)), torch.zeros(3).double())
    doubled = Explanation.of(one, 2 * truth(one).maps)
    assert_close(CompletenessGap()(doubled), torch.ones(3).double())


def test_a_gradient_is_invariant_and_gradient_times_input_is_not():
    one = case()
    assert_close(InputInvariance()(Explanation.of(one, Saliency())), torch.ones(3).double())
    shifted = (one.x[:, 0] + 1) * weights(one.flat)
    expected = correlation(truth(one).maps.flatten(1), shifted.flatten(1))
    assert (expected < 0.99).all()
    assert_close(InputInvariance()(Explanation.of(one, InputXGradient())), expected)


def test_non_sensitivity_counts_regions_that_contradict_their_effect():
    flat = network()
    with torch.no_grad():
        next(p for p in flat.parameters() if p.ndim == 2)[:, :8] = 0  # the upper half says nothing
    one = case(flat)
    metric = NonSensitivity(side=2, baselines=0.0)
    assert_close(metric(truth(one)), torch.zeros(3).double())
    assert_close(metric(Explanation.of(one, torch.ones(3, 4, 4))), torch.full((3,), 0.5).double())


def test_an_array_cannot_be_asked_again_and_a_channel_has_no_other_class(small):
    explanation = Explanation.of(small, torch.rand(2, 8, 8))
    for metric in (MaxSensitivity(), Continuity(), RandomClass(), ParameterRandomization(), InputInvariance()):
        with pytest.raises(NotApplicable, match="asks a method"):
            metric(explanation)
    with pytest.raises(NetLensError, match="cannot explain other images"):
        explanation.again(small.x, [0, 1])
    of_channel = Case(small.flat, small.x, channel("conv", 0))
    with pytest.raises(NotApplicable, match="needs an explained class"):
        RandomClass()(Explanation.of(of_channel, Saliency()))

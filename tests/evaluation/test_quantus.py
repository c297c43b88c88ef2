"""Parity with Quantus 0.6, for each metric that it has and defines alike.

The networks read gray pictures, so that a feature of Quantus is a pixel, and relevance has no ties. docs/evaluation.md
says where the definitions differ.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netlens.attribution import InputXGradient, Occlusion
from netlens.errors import NetLensError
from netlens.evaluation import Case, Explanation, explain_func, randomized
from netlens.evaluation.metrics import (
    AreaUnderROC,
    EffectivePixels,
    EfficientRandomization,
    EnergyInside,
    Entropy,
    FaithfulnessEstimate,
    Gini,
    Monotonicity,
    PixelFlipping,
    PointingGame,
    RankAccuracy,
    RegionPerturbation,
    Selectivity,
    TopIntersection,
)
from netlens.flat import FlatModel
from netlens.objectives import logit
from tests.evaluation.convolution import Convolution

quantus = pytest.importorskip("quantus", reason="the oracle is Quantus")

SIDE, N = 12, 3
QUIET = {"disable_warnings": True, "display_progressbar": False, "normalise": False, "abs": False}


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Linear(6 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        maps = nn.functional.max_pool2d(torch.relu(self.norm(self.conv(x))), 3)
        scores: Tensor = self.head(maps.flatten(1))
        return scores


class Wide(nn.Module):
    """The network in float64. Quantus gives it float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.network(x.double())
        return scores


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return randomized(Small(), seed=3).double()


@pytest.fixture(scope="module")
def explanation(network) -> Explanation:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(N, 1, SIDE, SIDE, generator=generator).double()  # float32 holds them, too
    masks = torch.zeros(N, SIDE, SIDE, dtype=torch.bool)
    masks[:, 2:8, 3:9] = True
    case = Case(FlatModel.from_nn_Module(network), x, logit([0, 2, 3]), masks=masks)
    return Explanation.of(case, torch.rand(N, SIDE, SIDE, generator=generator))


def theirs(network: nn.Module, explanation: Explanation, metric) -> np.ndarray:
    case = explanation.case
    assert case.masks is not None
    arrays = {
        "x_batch": case.x.numpy(),
        "y_batch": np.array([0, 2, 3]),
        "a_batch": explanation.maps[:, None].numpy().copy(),
        "s_batch": case.masks[:, None].numpy(),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = metric(model=Wide(network).eval(), **arrays, device="cpu", batch_size=N, softmax=False)
    return np.asarray(scores, dtype=np.float64)


def assert_same(ours: Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-6, atol=0)


def test_pixel_flipping(network, explanation):
    metric = quantus.PixelFlipping(features_in_step=6, perturb_baseline=0.0, **QUIET)
    assert_same(
        PixelFlipping(pixels=6, baselines=0.0).curve(explanation)[1],
        theirs(network, explanation, metric),
    )


def test_faithfulness_estimate(network, explanation):
    metric = quantus.FaithfulnessEstimate(features_in_step=6, perturb_baseline=0.0, **QUIET)
    ours = FaithfulnessEstimate(pixels=6, baselines=0.0)(explanation)
    assert_same(ours, theirs(network, explanation, metric))


@pytest.fixture(scope="module")
def whole_regions(explanation) -> Explanation:
    """Each region of 4 x 4 pixels has one relevance."""
    regions = torch.rand(N, 3, 3, generator=torch.Generator().manual_seed(1))
    return Explanation.of(explanation.case, regions.repeat_interleave(4, 1).repeat_interleave(4, 2))


def test_selectivity(network, whole_regions):
    metric = quantus.Selectivity(patch_size=4, perturb_baseline=0.0, **QUIET)
    ours = Selectivity(side=4, baselines=0.0).curve(whole_regions)[1][:, 1:]
    assert_same(ours, theirs(network, whole_regions, metric))


def test_region_perturbation(network, whole_regions):
    metric = quantus.RegionPerturbation(patch_size=4, regions_evaluation=9, perturb_baseline=0.0, order="morf", **QUIET)
    values = RegionPerturbation(side=4, regions=9, baselines=0.0).curve(whole_regions)[1]
    assert_same(values[:, :1] - values[:, 1:], theirs(network, whole_regions, metric))


def test_monotonicity_is_theirs_where_every_step_rises(network, explanation):
    metric = quantus.Monotonicity(features_in_step=72, perturb_baseline=0.0, **QUIET)
    rising = theirs(network, explanation, metric)
    # theirs fills pixels of the baseline by the baseline, so that nothing ever changes
    assert rising.all()
    assert not Monotonicity(pixels=12, baselines=0.0)(explanation).eq(1).all()


@pytest.mark.parametrize(
    ("ours", "metric"),
    [
        (PointingGame(), "PointingGame"),
        (EnergyInside(), "RelevanceMassAccuracy"),
        (EnergyInside(), "AttributionLocalisation"),
        (RankAccuracy(), "RelevanceRankAccuracy"),
        (TopIntersection(k=7), "TopKIntersection"),
        (AreaUnderROC(), "AUC"),
    ],
)
def test_localization(network, explanation, ours, metric):
    options = {"k": 7} if metric == "TopKIntersection" else {}
    assert_same(ours(explanation), theirs(network, explanation, getattr(quantus, metric)(**QUIET, **options)))


def test_complexity(network, explanation):
    positive = QUIET | {"abs": True}
    assert_same(Entropy()(explanation), theirs(network, explanation, quantus.Complexity(**positive)))
    np.testing.assert_allclose(  # theirs adds 1e-7 to each pixel
        Gini()(explanation).numpy(), theirs(network, explanation, quantus.Sparseness(**positive)), rtol=1e-6
    )
    assert (EffectivePixels()(explanation) <= SIDE * SIDE).all()


@pytest.fixture(scope="module")
def again() -> nn.Module:
    return randomized(Convolution(), seed=2)  # float32, which Quantus gives


X = np.random.default_rng(0).random((N, 1, SIDE, SIDE), dtype=np.float32)
Y = np.array([0, 2, 1])


def of_quantus(metric, network: nn.Module, method: str, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return metric(
            model=network, x_batch=X, y_batch=Y, a_batch=None, explain_func=explain_func,
            explain_func_kwargs={"method": method, **options}, device="cpu", batch_size=N,
        )  # fmt: skip


def test_quantus_explains_by_our_methods(again):
    case = Case(FlatModel.from_nn_Module(again), torch.from_numpy(X), logit(Y.tolist()))
    ours = Entropy()(Explanation.of(case, InputXGradient()))
    scores = of_quantus(quantus.Complexity(**QUIET | {"abs": True}), again, "input_x_gradient")
    assert_same(ours, np.array(scores))


def test_options_of_a_method_reach_it(again):
    maps = [explain_func(again, X, Y, method=name, **more) for name, more in (
        ("occlusion:window=4,stride=4", {}), ("occlusion", {"window": 4, "stride": 4}), (Occlusion(4, 4), {}),
    )]  # fmt: skip
    assert maps[0].shape == (N, 1, SIDE, SIDE)
    assert all(np.array_equal(one, maps[0]) for one in maps)
    assert not np.array_equal(explain_func(again, X, Y, method="occlusion", window=6, stride=6), maps[0])
    with pytest.raises(NetLensError, match="3 images"):
        explain_func(again, X, Y[:2])
    with pytest.raises(NetLensError, match="no method"):
        explain_func(again, X, Y, method="grad_cat")


def test_quantus_asks_again_about_noise_and_about_random_weights(again):
    quiet = QUIET | {"abs": True}
    noises = [quantus.MaxSensitivity(nr_samples=3, lower_bound=bound, **quiet) for bound in (0.001, 0.1)]
    little, much = (np.array(of_quantus(metric, again, "input_x_gradient")) for metric in noises)
    assert (little > 0).all() and (little < much).all()
    similarities = of_quantus(
        quantus.MPRT(layer_order="independent", similarity_func=quantus.similarity_func.correlation_spearman, **quiet),
        again,
        "saliency",
    )
    # the original, whose explanation is its own, and two layers: each of them changes the explanation
    assert {name: bool(np.min(values) > 0.999) for name, values in similarities.items()} == {
        "original": True,
        "conv": False,
        "head": False,
    }


def test_the_complexity_of_efficient_randomization():
    maps = np.random.default_rng(1).normal(size=(N, 1, SIDE, SIDE))
    expected = [quantus.complexity_func.discrete_entropy(np.abs(one), one, n_bins=20) for one in maps]
    assert_same(EfficientRandomization(bins=20).complexity(torch.from_numpy(maps)), np.array(expected))

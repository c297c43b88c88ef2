"""Metrics that compare with networks of random weights, of shuffled labels or of another seed: cases by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import Method, Saliency
from netlens.errors import NetLensError, NotApplicable
from netlens.evaluation import Case, Explanation
from netlens.evaluation.metrics import (
    DataRandomization,
    EfficientRandomization,
    IndependentRandomization,
    ParameterRandomization,
    SeedAgreement,
    SmoothRandomization,
)
from netlens.evaluation.metrics._random_weights import with_random
from netlens.evaluation.metrics._ranks import alike
from netlens.flat import FlatModel
from netlens.objectives import logit
from tests.evaluation.linear import case, network, pictures


@dataclass(frozen=True)
class FirstWeights(Method):
    """Explains by the weights of the first unit of the first layer, and by nothing else."""

    def attribute(self, flat: FlatModel, x: Tensor, objective, wrt: str) -> Tensor:
        weight = next(parameter for parameter in flat.parameters() if parameter.ndim == 2)
        return weight[0].detach().view(1, 1, 4, 4).expand_as(x).clone()


@dataclass(frozen=True)
class Itself(Method):
    def attribute(self, flat: FlatModel, x: Tensor, objective, wrt: str) -> Tensor:
        return x.clone()


def deep() -> FlatModel:
    torch.manual_seed(3)
    layers = (nn.Flatten(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    return FlatModel.from_nn_Module(nn.Sequential(*layers).double().eval())


def with_weights(values: Tensor) -> FlatModel:
    """A linear network whose class 1 has these weights, and class 0 none."""
    flat = network()
    with torch.no_grad():
        weight, bias = flat.parameters()
        weight.zero_()
        bias.zero_()
        weight[1] = values
    return flat


def is_random(flat: FlatModel, copies: list[FlatModel]) -> list[list[bool]]:
    """Whether each layer with weights is another one, in each copy."""
    weights = [[p for p in one.parameters() if p.ndim == 2] for one in (flat, *copies)]
    return [[not torch.equal(a, b) for a, b in zip(weights[0], other, strict=True)] for other in weights[1:]]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (ParameterRandomization(stages=3), [[0, 0, 1], [0, 1, 1], [1, 1, 1]]),
        (IndependentRandomization(stages=3), [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        (SmoothRandomization(stages=3), [[1, 0, 0], [1, 1, 0], [1, 1, 1]]),
    ],
)
def test_which_layers_are_random(metric, expected):
    flat = deep()
    before = [parameter.clone() for parameter in flat.parameters()]
    assert is_random(flat, metric.randomized(flat)) == [[bool(one) for one in row] for row in expected]
    assert all(torch.equal(a, b) for a, b in zip(flat.parameters(), before, strict=True))


def test_a_layer_has_the_same_draw_alone_and_with_others():
    flat = deep()
    alone = IndependentRandomization(stages=3).randomized(flat)[0]
    together = ParameterRandomization(stages=3).randomized(flat)[2]
    other = IndependentRandomization(stages=3, seed=1).randomized(flat)[0]
    first = [next(p for p in one.parameters() if p.ndim == 2) for one in (alone, together, other)]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])


def test_independent_stages_show_on_which_layer_an_explanation_depends():
    one = Case(deep(), pictures(2), logit(1))
    explanation = Explanation.of(one, FirstWeights())
    random = with_random(one.flat, slice(0, 1), 0)
    changed = alike(explanation.maps, Explanation.of(replace(one, flat=random), FirstWeights()).maps)
    # the other two layers change nothing
    assert_close(IndependentRandomization(stages=3)(explanation), (changed + 1 + 1) / 3)
    assert_close(ParameterRandomization(stages=3)(explanation), (1 + 1 + changed) / 3)
    assert_close(SmoothRandomization(stages=3, samples=1)(explanation), changed)


def test_the_smooth_explanation_is_the_mean_of_sizes_over_noisy_images():
    one = case(n=2)
    explanation = Explanation.of(one, Itself())
    generator = torch.Generator().manual_seed(5)
    expected = torch.zeros(2, 4, 4).double()
    for _ in range(3):
        noise = torch.randn(one.x.shape, generator=generator, dtype=torch.float64)
        span = torch.stack([image.max() - image.min() for image in one.x])
        expected += (one.x + 0.5 * span[:, None, None, None] * noise)[:, 0].abs() / 3
    assert_close(SmoothRandomization(samples=3, noise=0.5, seed=5).smooth(explanation, one.flat), expected)
    assert_close(SmoothRandomization(samples=2)(explanation), torch.ones(2).double())


def test_the_complexity_is_the_entropy_of_a_histogram():
    maps = torch.zeros(1, 4, 4).double()
    maps[0, 0] = torch.tensor([1.0, -1.0, 1.0, -1.0])  # a quarter in the last bin
    metric = EfficientRandomization(bins=10)
    assert metric.complexity(maps).tolist() == pytest.approx([math.log(4) - 0.75 * math.log(3)])
    values = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    for row, complexity in zip(values, metric.complexity(values), strict=True):
        shares = np.histogram(row.abs().numpy(), bins=10)[0] / 64
        assert float(complexity) == pytest.approx(-sum(share * math.log(share) for share in shares if share))


def test_the_rise_in_complexity_is_relative_to_the_explanation():
    flat = with_weights(torch.ones(16).double())
    with torch.no_grad():
        next(p for p in flat.parameters() if p.ndim == 2)[0, :8] = 2.0  # half 2, half 0: an entropy of log 2
    one = case(flat, n=2)
    metric = EfficientRandomization(bins=4, seed=2)
    random = Explanation.of(replace(one, flat=with_random(flat, slice(None), 2)), FirstWeights())
    expected = (metric.complexity(random.maps) - math.log(2)) / math.log(2)
    assert (expected > 0).all()
    assert_close(metric(Explanation.of(one, FirstWeights())), expected)
    constant = case(with_weights(torch.ones(16).double()))
    assert metric(Explanation.of(constant, Saliency())).isnan().all(), "what says nothing has no complexity"


def test_shuffled_labels_and_neighbors_are_compared_by_rank():
    rising = torch.arange(1, 17).double()
    swapped = rising.clone()
    swapped[[0, 1]] = swapped[[1, 0]]  # Spearman: 1 - 6 * (1 + 1) / (16 * 255)
    for weights, expected in ((rising, 1), (-2 * rising, 1), (rising.flip(0), -1), (swapped, 1 - 12 / 4080)):
        one = replace(case(with_weights(rising)), shuffled=with_weights(weights), neighbor=with_weights(weights.abs()))
        explanation = Explanation.of(one, Saliency())
        for metric in (DataRandomization(), SeedAgreement()):
            assert_close(metric(explanation), torch.full((3,), expected).double())


def test_a_neighbor_that_sees_something_else_says_nothing():
    rising = torch.arange(1, 17).double()
    one = replace(case(with_weights(rising)), neighbor=with_weights(-rising))
    assert one.predicted.tolist() == [1, 1, 1]
    assert SeedAgreement()(Explanation.of(one, Saliency())).isnan().all()


def test_without_a_second_network_it_is_refused_and_one_of_another_type_too():
    explanation = Explanation.of(case(), Saliency())
    with pytest.raises(NotApplicable, match="another seed; give neighbor="):
        SeedAgreement()(explanation)
    with pytest.raises(NotApplicable, match="shuffled labels; give shuffled="):
        DataRandomization()(explanation)
    array = Explanation.of(replace(case(), neighbor=network(1)), torch.rand(3, 4, 4))
    with pytest.raises(NotApplicable, match="asks a method"):
        SeedAgreement()(array)
    with pytest.raises(NetLensError, match=r"float64.* but .* is torch.float32"):
        replace(case(), neighbor=FlatModel.from_nn_Module(nn.Conv2d(1, 2, 1)))

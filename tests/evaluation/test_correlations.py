"""Metrics that compare relevance with effect: what they are for a linear network, where both are the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from netlens.evaluation import Explanation
from netlens.evaluation.metrics import (
    FaithfulnessCorrelation,
    FaithfulnessEstimate,
    Infidelity,
    Monotonicity,
    SensitivityN,
    correlation,
)
from tests.evaluation.linear import case, truth

ZERO = {"baselines": 0.0}
METRICS = [
    FaithfulnessCorrelation(sets=12, **ZERO),
    FaithfulnessEstimate(pixels=3, **ZERO),
    SensitivityN(sets=6, shares=(0.2, 0.6), **ZERO),
]


@pytest.mark.parametrize("metric", METRICS)
def test_relevance_that_is_the_effect_has_the_correlation_1(metric):
    one = case()
    assert_close(metric(truth(one)), torch.ones(3).double())
    assert_close(metric(Explanation.of(one, -truth(one).maps)), -torch.ones(3).double())


@pytest.mark.parametrize("metric", METRICS)
def test_parts_have_the_size_that_the_options_say_and_repeat_with_the_seed(metric):
    one = truth(case())
    parts = metric.parts(3, 4, 4, one.ranks)
    sizes = parts.flatten(2).sum(2)
    if isinstance(metric, FaithfulnessEstimate):
        assert sizes.tolist() == [[3, 3, 3, 3, 3, 1]] * 3
    elif isinstance(metric, SensitivityN):
        assert sizes.tolist() == [[3] * 6 + [10] * 6] * 3
    else:
        assert sizes.tolist() == [[2] * 12] * 3
    assert torch.equal(parts, metric.parts(3, 4, 4, one.ranks))


def test_infidelity_is_0_for_any_multiple_of_the_effect_and_1_where_relevance_says_nothing():
    one = case(side=8)
    metric = Infidelity(squares=20, **ZERO)
    for factor in (1.0, -3.0):
        assert_close(metric(Explanation.of(one, factor * truth(one).maps)), torch.zeros(3).double())
    assert_close(metric(Explanation.of(one, torch.zeros(3, 8, 8))), torch.ones(3).double())
    noise = metric(Explanation.of(one, torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))))
    assert ((noise > 0) & (noise < 1)).all()


def test_monotonicity_is_the_share_of_steps_that_do_not_fall():
    one = case()
    maps = truth(one).maps
    rises = Explanation.of(one, maps)
    ascending = maps.flatten(1).sort(dim=1).values[:, 1:]  # the first step has no step before it
    expected = (ascending >= 0).double().mean(1)
    assert_close(Monotonicity(pixels=1, **ZERO)(rises), expected)


def test_a_correlation_is_that_of_numpy_and_nan_for_a_constant():
    a, b = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    expected = [np.corrcoef(x, y)[0, 1] for x, y in zip(a.double(), b.double(), strict=True)]
    assert_close(correlation(a, b), torch.tensor(expected))
    assert correlation(torch.ones(1, 7), b[:1]).isnan().all()

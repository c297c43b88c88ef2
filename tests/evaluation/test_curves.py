"""Curves: the order of pixels and regions, and what each metric reads off, in cases worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from netlens.evaluation import Explanation
from netlens.evaluation.metrics import (
    Comprehensiveness,
    Deletion,
    Insertion,
    PixelFlipping,
    RegionPerturbation,
    Selectivity,
    Sufficiency,
)
from tests.evaluation.linear import case, truth, weights

ZERO = {"baselines": 0.0}


@pytest.fixture(scope="module")
def explanation() -> Explanation:
    return truth(case())


def contributions(explanation: Explanation) -> torch.Tensor:
    """(N, 16): what each pixel adds, the largest first."""
    return explanation.maps.flatten(1).sort(dim=1, descending=True).values


def left(explanation: Explanation) -> torch.Tensor:
    """(N, 17): the score after 0, 1, ... of the most relevant pixels are 0."""
    gone = torch.cat([torch.zeros(3, 1).double(), contributions(explanation).cumsum(1)], dim=1)
    return explanation.case.values[:, None] - gone


def test_deletion_takes_the_most_relevant_pixels_first(explanation):
    shares, values = Deletion(steps=16, **ZERO).curve(explanation)
    assert_close(values, left(explanation))
    assert_close(shares, torch.arange(17).double() / 16)
    mean_of_ends = (left(explanation)[:, :-1] + left(explanation)[:, 1:]).mean(1) / 2
    assert_close(Deletion(steps=16, **ZERO)(explanation), mean_of_ends)


def test_insertion_brings_the_most_relevant_pixels_first(explanation):
    nothing = left(explanation)[:, -1:]
    back = torch.cat([nothing, nothing + contributions(explanation).cumsum(1)], dim=1)
    assert_close(Insertion(steps=16, **ZERO).curve(explanation)[1], back)
    assert_close(Insertion(steps=16, **ZERO)(explanation), (back[:, :-1] + back[:, 1:]).mean(1) / 2)


def test_pixel_flipping_has_steps_of_so_many_pixels_and_a_shorter_last_one(explanation):
    values = PixelFlipping(pixels=5, **ZERO).curve(explanation)[1]
    assert_close(values, left(explanation)[:, [5, 10, 15, 16]])
    assert_close(PixelFlipping(pixels=5, **ZERO)(explanation), values.mean(1))


def test_comprehensiveness_and_sufficiency_are_means_over_shares(explanation):
    whole, curve = explanation.case.values, left(explanation)
    got = Comprehensiveness(shares=(0.25, 0.5), **ZERO)(explanation)
    assert_close(got, whole - curve[:, [4, 8]].mean(1))
    scores = curve[:, -1:] + contributions(explanation).cumsum(1)[:, [3, 7]]
    assert_close(Sufficiency(shares=(0.25, 0.5), **ZERO)(explanation), whole - scores.mean(1))


@pytest.mark.parametrize("metric", [RegionPerturbation(side=2, **ZERO), Selectivity(side=2, **ZERO)])
def test_regions_go_by_their_mean_relevance(explanation, metric):
    sums = explanation.maps.view(3, 2, 2, 2, 2).sum((2, 4)).flatten(1).sort(dim=1, descending=True).values
    curve = explanation.case.values[:, None] - torch.cat([torch.zeros(3, 1).double(), sums.cumsum(1)], dim=1)
    assert_close(metric.curve(explanation)[1], curve)
    if isinstance(metric, Selectivity):
        assert_close(metric(explanation), (curve[:, :-1] + curve[:, 1:]).mean(1) / 2)
    else:
        assert_close(metric(explanation), (curve[:, :1] - curve).mean(1))


def test_regions_at_the_border_are_smaller(explanation):
    values = Selectivity(side=3, **ZERO).curve(explanation)[1]
    means = torch.stack(
        [explanation.maps[:, rows, columns].flatten(1).mean(1) for rows in SLICES for columns in SLICES], dim=1
    )
    sums = torch.stack(
        [explanation.maps[:, rows, columns].flatten(1).sum(1) for rows in SLICES for columns in SLICES], dim=1
    )
    sums = sums.gather(1, means.argsort(dim=1, descending=True))
    assert_close(values[:, 1:], explanation.case.values[:, None] - sums.cumsum(1))


SLICES = (slice(0, 3), slice(3, 4))


def test_ties_go_row_by_row():
    one = case()
    constant = Explanation.of(one, torch.ones(3, 4, 4))
    values = PixelFlipping(pixels=4, **ZERO).curve(constant)[1]
    rows = (one.x[:, 0] * weights(one.flat)).sum(2)
    assert_close(values, one.values[:, None] - rows.cumsum(1))


def test_metrics_share_the_runs_that_they_have_in_common(monkeypatch):
    explanation = truth(case())
    ran: list[int] = []
    values_of = type(explanation.case).values_of

    def counted(self, samples, make):
        ran.append(len(samples))
        return values_of(self, samples, make)

    monkeypatch.setattr(type(explanation.case), "values_of", counted)
    Deletion(steps=4, **ZERO)(explanation)
    assert sum(ran) == 3 * 5
    ran.clear()
    Deletion(steps=8, **ZERO)(explanation)
    assert sum(ran) == 3 * 4  # the odd ones
    ran.clear()
    Insertion(steps=4, **ZERO)(explanation)
    assert sum(ran) == 3 * 3  # the ends are those of the deletion
    ran.clear()
    Comprehensiveness(shares=(0.25, 0.5), **ZERO)(explanation)
    assert sum(ran) == 3  # the images as they are


def test_the_truth_is_more_faithful_than_its_opposite():
    one = case()
    right, wrong = truth(one), Explanation.of(one, -truth(one).maps)
    for metric in (Deletion(**ZERO), Insertion(**ZERO), PixelFlipping(1, **ZERO), Comprehensiveness(**ZERO)):
        better = metric(right) > metric(wrong)
        assert better.all() if metric.more_is_better else not better.any()

"""Localization, complexity: cases by hand, and scikit-learn."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from netlens.errors import NetLensError, NotApplicable
from netlens.evaluation import Case, Explanation
from netlens.evaluation.metrics import (
    AreaUnderROC,
    BestOverlap,
    EffectivePixels,
    EnergyInside,
    Entropy,
    Gini,
    PointingGame,
    RankAccuracy,
    TopIntersection,
)
from netlens.objectives import logit
from tests.evaluation.linear import case, network, pictures

# one row of pixels after the other; the mask is the first row
MAPS = torch.tensor([[4.0, 3.0, 0.0, -1.0], [2.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]).double()
MASK = torch.zeros(4, 4, dtype=torch.bool)
MASK[0] = True


def explained(maps: torch.Tensor, mask: torch.Tensor = MASK) -> Explanation:
    return Explanation.of(case(n=1, masks=mask[None]), maps[None])


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (PointingGame(), 1.0),
        (EnergyInside(), 7 / 10),
        (RankAccuracy(), 2 / 4),
        (TopIntersection(k=2), 1.0),
        (TopIntersection(k=3), 2 / 3),
        (BestOverlap(), 2 / 4),  # above 2: two pixels, both in the mask of four
    ],
)
def test_values_by_hand(metric, expected):
    assert metric(explained(MAPS)).tolist() == pytest.approx([expected])


def test_the_best_overlap_takes_equal_pixels_together():
    maps = torch.zeros(4, 4).double()
    maps[0], maps[1, :2] = 1.0, 1.0
    assert BestOverlap()(explained(maps)).tolist() == pytest.approx([4 / 6])


def test_area_under_roc_is_that_of_scikit_learn():
    from sklearn.metrics import roc_auc_score

    for seed in range(5):
        maps = torch.randint(0, 5, (4, 4), generator=torch.Generator().manual_seed(seed)).double()
        expected = roc_auc_score(MASK.flatten().numpy(), maps.flatten().numpy())
        assert AreaUnderROC()(explained(maps)).tolist() == pytest.approx([expected])


@pytest.mark.parametrize("metric", [PointingGame(), EnergyInside(), AreaUnderROC(), BestOverlap(), RankAccuracy()])
def test_an_empty_or_full_mask_says_nothing(metric):
    for mask in (torch.zeros_like(MASK), torch.ones_like(MASK)):
        assert metric(explained(MAPS, mask)).isnan().all()


def test_without_masks_or_with_others_it_is_refused():
    with pytest.raises(NotApplicable, match="needs masks"):
        PointingGame()(Explanation.of(case(n=1), MAPS[None]))
    with pytest.raises(NetLensError, match="masks are"):
        Case(network(), pictures(2), logit(1), masks=MASK[None])


def test_one_pixel_is_the_sparsest_and_equal_pixels_are_the_least():
    one, same = torch.zeros(4, 4).double(), torch.ones(4, 4).double()
    one[1, 2] = -3
    assert Gini()(explained(one)).tolist() == pytest.approx([15 / 16])
    assert Gini()(explained(same)).tolist() == pytest.approx([0], abs=1e-12)
    assert Entropy()(explained(one)).tolist() == pytest.approx([0])
    assert Entropy()(explained(same)).tolist() == pytest.approx([math.log(16)])
    assert EffectivePixels()(explained(same)).tolist() == pytest.approx([16])


def test_the_gini_index_by_hand():
    maps = torch.zeros(4, 4).double()
    maps[0, 0], maps[0, 1] = 1, 3
    # sorted: 14 zeros, 1, 3; weights of the last two are 13 and 15
    assert_close(Gini()(explained(maps)), torch.tensor([(13 * 1 + 15 * 3) / (16 * 4)]).double())

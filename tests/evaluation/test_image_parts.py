"""Parts that a renderer takes away: cases by hand on a sum of pixels, and scenes of the little world."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from netlens.errors import NetLensError, NotApplicable
from netlens.evaluation import Case, Explanation, ImageParts, evaluate
from netlens.evaluation.metrics import EqualParts, PartImportance
from netlens.objectives import logit
from netlens.world import parts
from netlens.zoo import open_network
from tests.evaluation.linear import case, network

MASKS = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
MASKS[0, 0, 0], MASKS[0, 1, 1], MASKS[0, 2, 2] = True, True, True  # rows; the fourth part is none


def summed(effects: tuple[float, float, float]) -> Case:
    """The score of class 1 is the sum of all pixels, and each of the first rows has a sum of its own."""
    flat = network()
    with torch.no_grad():
        weight, bias = flat.parameters()
        weight.fill_(1)
        bias.zero_()
    x = torch.ones(1, 1, 4, 4).double()
    x[0, 0, :3] = torch.tensor(effects).double()[:, None] / 4
    without = torch.where(MASKS[:, :, None], 0.0, x[:, None])
    return Case(flat, x, logit(1), image_parts=ImageParts(MASKS, without))


def explained(one: Case, rows: tuple[float, ...]) -> Explanation:
    return Explanation.of(one, torch.tensor(rows).double()[None, :, None].expand(1, 4, 4) / 4)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [((1, 2, 3, 9), 1.0), ((10, 30, 20, 0), 0.5), ((3, 2, 1, 0), -1.0), ((1, 1, 2, 0), 3**0.5 / 2)],
)
def test_importance_is_the_rank_correlation_with_the_effects(rows, expected):
    assert PartImportance()(explained(summed((1, 2, 3)), rows)).tolist() == pytest.approx([expected])


def test_equal_effects_need_equal_relevance():
    one = summed((2, 2.1, 5))  # the first two are equal within a tenth
    assert EqualParts()(explained(one, (1, 3, 7, 0))).tolist() == pytest.approx([2 / 4])
    assert EqualParts()(explained(one, (3, 3, 0, 0))).tolist() == pytest.approx([0])
    assert EqualParts()(explained(one, (-3, 3, 0, 0))).tolist() == pytest.approx([1])
    assert EqualParts(tolerance=0.01)(explained(one, (1, 3, 7, 0))).isnan().all()
    assert EqualParts(tolerance=0.9)(explained(one, (1, 3, 3, 0))).tolist() == pytest.approx([(2 / 4 + 2 / 4 + 0) / 3])


def test_an_image_of_one_part_says_nothing_and_a_case_without_parts_is_refused():
    one = summed((1, 2, 3))
    assert one.image_parts is not None
    alone = replace(one, image_parts=ImageParts(MASKS[:, :1], one.image_parts.without[:, :1]))
    assert PartImportance()(explained(alone, (1, 2, 3, 4))).isnan().all()
    assert EqualParts()(explained(alone, (1, 2, 3, 4))).isnan().all()
    with pytest.raises(NotApplicable, match="give image_parts="):
        PartImportance()(Explanation.of(case(), torch.rand(3, 4, 4)))
    with pytest.raises(NetLensError, match="parts are masks"):
        ImageParts(MASKS, one.image_parts.without[:, :2])
    with pytest.raises(NetLensError, match="parts are those of"):
        replace(one, x=one.x.expand(2, -1, -1, -1))


def test_explanations_know_what_things_do_and_controls_do_not():
    flat = open_network()
    normalize = flat.adapter.preprocessing.normalize
    pictures, labels, masks, without = parts.batch(parts.assembly, 11, 6)
    truth = ImageParts(masks, normalize(without.flatten(0, 1) / 255).unflatten(0, without.shape[:2]))
    one = Case(flat, normalize(pictures / 255), logit(labels.tolist()), image_parts=truth)
    table = evaluate(one, ["lrp", "deep_lift"], ["part_importance"])
    controls = [table.of(name, "part_importance").mean for name in table.controls]
    assert all(table.of(name, "part_importance").mean > max(controls) + 0.3 for name in ("LRP", "DeepLift"))

"""The score of a class over a region: where the region is, what it weighs, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import Occlusion, Saliency
from netlens.errors import ClassNotFound, NetLensError, NonFiniteError, NotApplicable
from netlens.flat import FlatModel
from netlens.objectives import Objective, Record, logit, region

X = torch.randn(3, 3, 8, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def maps(stride: int = 1, classes: int = 4) -> FlatModel:
    torch.manual_seed(0)
    return FlatModel.from_nn_Module(nn.Sequential(nn.Conv2d(3, classes, 3, stride, padding=1)).double())


@pytest.fixture(scope="module")
def flat() -> FlatModel:
    return maps()


def value(flat: FlatModel, objective: Objective, x: Tensor = X) -> Tensor:
    return objective(Record(flat, flat.record(x, layers=objective.layers)))


def test_the_mean_over_a_mask(flat):
    scores = flat(X)
    mask = torch.zeros(8, 10, dtype=torch.bool)
    mask[2:4, 5] = True
    expected = scores[:, 1, 2:4, 5].mean(1)
    for form in (mask, mask.double(), mask.numpy(), mask.expand(3, 8, 10), mask.tolist()):
        assert_close(value(flat, region(1, form)), expected)
    each = torch.stack([mask, ~mask, mask.roll(1, 0)])
    means = torch.stack([scores[i, c][each[i]].mean() for i, c in enumerate((0, 3, 1))])
    assert_close(value(flat, region([0, 3, 1], each)), means)
    assert_close(value(flat, region(2, torch.ones(8, 10))), value(flat, logit(2)))


def test_weights_of_a_mask_are_relative(flat):
    weights = torch.rand(8, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = (flat(X)[:, 1] * weights).sum((1, 2)) / weights.sum()
    assert_close(value(flat, region(1, weights)), expected)
    assert_close(value(flat, region(1, 7 * weights)), expected)


def test_a_box_covers_parts_of_pixels(flat):
    scores = flat(X)[:, 2]
    assert_close(value(flat, region(2, (5, 2, 7, 6))), scores[:, 2:6, 5:7].mean((1, 2)))
    assert_close(value(flat, region(2, np.array([4.5, 0, 6, 1]))), (scores[:, 0, 4] / 2 + scores[:, 0, 5]) / 1.5)
    assert_close(value(flat, region(2, (-9, -9, 99, 99))), scores.mean((1, 2)))


def test_a_mask_of_the_images_size_is_averaged_down_to_a_coarser_map():
    coarse = maps(stride=2)
    scores = coarse(X)
    assert scores.shape == (3, 4, 4, 5)
    mask = torch.zeros(8, 10)
    mask[0, 0], mask[4:6, 2:4] = 1, 1  # a quarter of one position and all of another
    expected = (scores[:, 1, 0, 0] / 4 + scores[:, 1, 2, 1]) / 1.25
    assert_close(value(coarse, region(1, mask)), expected)
    assert_close(value(coarse, region(1, mask).settled(coarse, X)), expected)
    fine = torch.zeros(4, 5)
    fine[3, 2] = 1
    assert_close(value(coarse, region(1, fine)), scores[:, 1, 3, 2])


def test_by_default_it_is_where_the_network_predicts_the_class(flat):
    scores = flat(X)
    for c in range(4):
        where = scores.argmax(1) == c
        expected = torch.stack([scores[i, c][where[i]].mean() for i in range(3)])
        assert_close(value(flat, region(c)), expected)
        assert_close(value(flat, region(c).settled(flat, X)), expected)
    single = maps(classes=1)
    positive = single(X).clamp(min=0)
    assert_close(value(single, region(0)), positive.sum((1, 2, 3)) / (positive > 0).sum((1, 2, 3)))


def test_once_settled_the_region_stays_where_it_was(flat):
    settled = region([1, 2, 0]).settled(flat, X)
    assert settled.settled(flat, X) is settled
    other = torch.roll(X, (3, 4), (2, 3))
    scores = flat(other)
    where = flat(X).argmax(1)
    expected = torch.stack([scores[i, c][where[i] == c].mean() for i, c in enumerate((1, 2, 0))])
    assert_close(value(flat, settled, other), expected)
    rows = [2, 0, 0]
    assert_close(value(flat, settled.take(rows), other[rows]), expected[rows])
    both = settled - 0.5 * logit(1)
    assert both.settled(flat, X) is both
    assert_close(value(flat, (region([1, 2, 0]) - 0.5 * logit(1)).settled(flat, X), other), value(flat, both, other))


def test_methods_explain_the_region_of_the_image_that_they_were_given(flat):
    """Occlusion would move the region, or leave none, if it were found again on each occluded image."""
    values = Occlusion(window=3, stride=2)(flat, X, region([0, 3, 1])).values
    where = torch.stack([flat(X)[i].argmax(0) == c for i, c in enumerate((0, 3, 1))])
    assert_close(values, Occlusion(window=3, stride=2)(flat, X, region([0, 3, 1], where)).values)
    with torch.inference_mode():
        assert_close(Saliency()(flat, X, region(1)).values, Saliency()(flat, X, region(1).settled(flat, X)).values)


def test_it_reads_as_it_was_written():
    assert repr(region("dog")) == "region('dog')"
    assert repr(2 * region(3, (0, 1.5, 20, 30))) == "2 * region(3, (0, 1.5, 20, 30))"
    assert repr(region([1, 2], torch.ones(2, 5, 6))) == "region([1, 2], mask 2x5x6)"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (torch.ones(8, 9), r"mask is \(8, 9\); give one of height and width 8x10, or one for each of 3"),
        (torch.ones(2, 8, 10), r"mask is \(2, 8, 10\)"),
        (torch.zeros(8, 10), "the region of region.* is empty"),
        ((20, 20, 30, 30), "the region of region.* is empty"),
        (-torch.ones(8, 10), "negative weights"),
        (torch.full((8, 10), torch.nan), "NaN"),
        ((5, 5, 5, 9), "x0 < x1"),
        ((1, 2, 3), "a box is"),
    ],
)
def test_a_region_that_is_none_is_refused(flat, where, message):
    for objective in (region(1, where), region(1, where) - logit(0)):
        with pytest.raises(NetLensError, match=message):
            objective.settled(flat, X)
        with pytest.raises(NetLensError, match=message):
            value(flat, objective)


def test_one_empty_mask_among_several_is_named(flat):
    mask = torch.ones(3, 8, 10)
    mask[1] = 0
    with pytest.raises(NetLensError, match="empty in sample 1"):
        value(flat, region(1, mask))


def test_a_class_that_is_predicted_nowhere():
    flat = maps()
    with torch.no_grad():
        flat.layers["0"].bias[2] = -1e6
    with pytest.raises(NotApplicable, match=r"predicts class 2 nowhere in sample 0; say where: region\(class, mask\)"):
        Saliency()(flat, X, region(2))


def test_other_mistakes(flat):
    with pytest.raises(ClassNotFound, match="no class 4; its 4 classes are 0 to 3"):
        value(flat, region(4))
    with pytest.raises(NetLensError, match="target has 2 classes for 3 images"):
        value(flat, region([1, 2]))
    vector = FlatModel.from_nn_Module(nn.Sequential(nn.Flatten(), nn.Linear(240, 4)).double())
    with pytest.raises(NotApplicable, match=r"returns scores \(3, 4\), not maps"):
        value(vector, region(1))
    broken = maps()
    with torch.no_grad():
        broken.layers["0"].weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(NonFiniteError):
        Saliency()(broken, X, region(1))


@pytest.mark.parametrize("where", ["mask.png", [[1, 2], [3]], object()])
def test_what_is_no_mask_is_refused_at_once(where):
    with pytest.raises(NetLensError, match="where must be a mask of numbers"):
        region(1, where)

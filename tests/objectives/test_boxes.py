"""The score of a class in a box: which candidate is meant, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens.attribution import Occlusion, Saliency
from netlens.errors import ClassNotFound, NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.adapter import Detections
from netlens.objectives import Objective, Record, box, logit

BOXES = torch.tensor([[0, 0, 4, 4], [0, 0, 4, 5], [0, 0, 2, 2], [6, 6, 9, 9]], dtype=torch.float64)
X = torch.randn(3, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Judge(nn.Module):
    """Four fixed boxes, or four for each of three classes, and logits that are the input itself."""

    def __init__(self, by_class: bool = False) -> None:
        super().__init__()
        self.by_class = by_class
        self.register_buffer("boxes", BOXES)

    def forward(self, x: Tensor) -> Detections:
        logits = x.unflatten(1, (4, 3)) * 1.0
        boxes = self.boxes + 0 * logits[:, :, :1]
        if self.by_class:  # class c finds the box of candidate i where class 0 finds that of candidate i + c
            boxes = torch.stack([boxes.roll(-c, 1) for c in range(3)], 2)
        return Detections(boxes, logits, logits.sigmoid())


def judge(by_class: bool = False) -> FlatModel:
    return FlatModel.from_nn_Module(Judge(by_class).double())


def value(flat: FlatModel, objective: Objective, x: Tensor = X) -> Tensor:
    return objective(Record(flat, flat.record(x, layers=objective.layers)))


def test_the_candidate_that_overlaps_most():
    flat = judge()
    scores = X.unflatten(1, (4, 3))
    for i, given in enumerate(BOXES.tolist()):
        if i > 1:
            assert_close(value(flat, box(1, given)), scores[:, i, 1])
    assert_close(value(flat, box(2, (5, 5, 8, 8))), scores[:, 3, 2])
    assert_close(value(flat, box(2, (5, 5, 8, 8), probability=True)), scores[:, 3, 2].sigmoid())
    each = torch.stack([BOXES[3], BOXES[2], BOXES[3]])
    assert_close(value(flat, box([0, 1, 2], each)), scores[range(3), [3, 2, 3], [0, 1, 2]])
    rows = [2, 1, 1]
    assert_close(value(flat, box([0, 1, 2], each).take(rows), X[rows]), scores[rows, [3, 2, 2], [2, 1, 1]])


def test_of_those_that_overlap_about_as_well_the_one_with_the_highest_score():
    flat = judge()
    scores = X.unflatten(1, (4, 3))
    # overlaps 4/4.5 and 4.5/5 of their unions: 0.889 and 0.9, which are within a tenth of each other
    assert_close(value(flat, box(0, (0, 0, 4, 4.5))), scores[:, :2, 0].amax(1))
    # 16/20 is less than 0.9 of 1
    assert_close(value(flat, box(0, (0, 0, 4, 5))), scores[:, 1, 0])


def test_by_default_the_candidate_with_the_highest_score():
    assert_close(value(judge(), box(1)), X.unflatten(1, (4, 3))[:, :, 1].amax(1))
    assert_close(value(judge(), logit([2, 0, 1])), X.unflatten(1, (4, 3)).amax(1)[range(3), [2, 0, 1]])


def test_a_box_for_each_class():
    flat = judge(by_class=True)
    scores = X.unflatten(1, (4, 3))
    assert_close(value(flat, box(0, BOXES[3])), scores[:, 3, 0])
    assert_close(value(flat, box([0, 1, 2], BOXES[3])), scores[range(3), [3, 2, 1], [0, 1, 2]])


def test_once_settled_the_candidate_stays():
    flat = judge()
    settled = box(1).settled(flat, X)
    assert settled.settled(flat, X) is settled
    other = X.flip(1)
    chosen = X.unflatten(1, (4, 3))[:, :, 1].argmax(1)
    expected = other.unflatten(1, (4, 3))[range(3), chosen, 1]
    assert_close(value(flat, settled, other), expected)
    assert_close(value(flat, settled.take([2, 2]), other[[2, 2]]), expected[[2, 2]])
    gradient = torch.zeros(3, 4, 3, dtype=torch.float64)
    gradient[range(3), chosen, 1] = 1
    assert_close(Saliency()(flat, X, box(1)).values, gradient.flatten(1))
    # occluding what the others see changes nothing, even where another candidate would then have the highest score
    assert_close(Occlusion(window=1, stride=1)(flat, X, box(1)).values, gradient.flatten(1) * X)


def test_it_reads_as_it_was_written():
    assert repr(box("dog") - 0.5 * box(3, (0, 1.5, 20, 30))) == "box('dog') - 0.5 * box(3, (0, 1.5, 20, 30))"
    assert repr(box([1, 2], torch.ones(2, 4), probability=True)) == "box([1, 2], 2 boxes, probability=True)"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((20, 20, 30, 30), r"no candidate of judge overlaps the box of box\(1, \(20, 20, 30, 30\)\) in sample 0"),
        ((5, 5, 5, 9), "x0 < x1 and y0 < y1"),
        ((1, 2, 3), "a box is"),
        (torch.ones(2, 4), r"one for each of 3 sample\(s\), not \(2, 4\)"),
    ],
)
def test_a_box_that_is_none_is_refused(given, message):
    flat = judge()
    for refused in (lambda: value(flat, box(1, given)), lambda: Saliency()(flat, X, box(1, given))):
        with pytest.raises(NetLensError, match=message):
            refused()


def test_other_mistakes():
    with pytest.raises(ClassNotFound, match="no class 3; its 3 classes are 0 to 2"):
        value(judge(), box(3))
    with pytest.raises(NotApplicable, match="linear is no detector that netlens supports: its output is Tensor"):
        value(FlatModel.from_nn_Module(nn.Linear(12, 3).double()), box(1))
    with pytest.raises(NetLensError, match="settled on 3 samples, so it cannot be computed for 2"):
        value(judge(), box(1).settled(judge(), X), X[:2])

"""The score of a class in a box: which candidate is meant, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.ops import box_iou

from netlens import NetLens
from netlens.adapters.detr import exclusive
from netlens.attribution import Occlusion, Saliency
from netlens.errors import ClassNotFound, NetLensError, NotApplicable
from netlens.flat import Adapter, Detections, FlatModel
from netlens.objectives import Objective, Record, box, logit
from tests.networks.endings import GridDetector, QueryDetector, of_cells

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
    for i, corners in enumerate(BOXES.tolist()):
        if i > 1:
            assert_close(value(flat, box(1, corners)), scores[:, i, 1])
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
    ("corners", "message"),
    [
        ((20, 20, 30, 30), r"no candidate of judge overlaps the box of box\(1, \(20, 20, 30, 30\)\) in sample 0"),
        ((5, 5, 5, 9), "x0 < x1 and y0 < y1"),
        ((1, 2, 3), "a box is"),
        (torch.ones(2, 4), r"one for each of 3 sample\(s\), not \(2, 4\)"),
    ],
)
def test_a_box_that_is_none_is_refused(corners, message):
    flat = judge()
    for refused in (lambda: value(flat, box(1, corners)), lambda: Saliency()(flat, X, box(1, corners))):
        with pytest.raises(NetLensError, match=message):
            refused()


def test_other_mistakes():
    with pytest.raises(ClassNotFound, match="no class 3; its 3 classes are 0 to 2"):
        value(judge(), box(3))
    with pytest.raises(NotApplicable, match="linear is no detector that netlens supports: its output is Tensor"):
        value(FlatModel.from_nn_Module(nn.Linear(12, 3).double()), box(1))
    with pytest.raises(NetLensError, match="settled on 3 samples, so it cannot be computed for 2"):
        value(judge(), box(1).settled(judge(), X), X[:2])


QUERIES = Adapter(detections=lambda out, size: exclusive(out["logits"], out["pred_boxes"], size))
DETECTORS = {"queries": (QueryDetector, QUERIES), "grid": (GridDetector, Adapter(detections=of_cells))}
IMAGES = torch.rand(2, 3, 32, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def read(name: str, output: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The boxes in pixels of `IMAGES`, the scores before the sigmoid or softmax and after, by hand."""
    if name == "queries":
        x, y, width, height = (output["pred_boxes"] * torch.tensor([48.0, 32.0, 48.0, 32.0])).unbind(-1)
        logits, scores = output["logits"][..., :3], output["logits"].softmax(-1)[..., :3]
    else:
        x, y, width, height = output[:, :4].unbind(1)
        logits = output[:, 5:].transpose(1, 2)
        scores = logits.sigmoid() * output[:, 4, :, None].sigmoid()
    return torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -1), logits, scores


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_of_ones_own(name: str) -> None:
    make, adapter = DETECTORS[name]
    network = make().double()
    flat = FlatModel.from_nn_Module(network, adapter=adapter)
    boxes, logits, scores = read(name, network(IMAGES))
    detections = Record(flat, flat.record(IMAGES, layers=["output"])).detections((32, 48))
    assert detections is not None
    for tensor, expected in zip(detections, (boxes, logits, scores), strict=True):
        assert_close(tensor, expected)
    assert_close(value(flat, logit(1), IMAGES), logits[:, :, 1].amax(1))
    for i in (0, 4):  # the candidate of a box is found again by its place in the image
        near = [box(2, boxes[:, i]), box(2, boxes[:, i], probability=True)]
        is_near = torch.stack([one_to_all(boxes[n, i], boxes[n]) for n in (0, 1)])
        chosen = scores[..., 2].masked_fill(is_near < 0.9, -1).argmax(1)
        for objective, values in zip(near, (logits, scores), strict=True):
            expected = values[[0, 1], chosen, 2]
            assert_close(value(flat, objective, IMAGES), expected)
            assert_close(value(flat, objective.settled(flat, IMAGES), IMAGES), expected)
            assert_close(value(flat, objective.take([1, 1]), IMAGES[[1, 1]]), expected[[1, 1]])
            assert objective.settled(flat, IMAGES).layers == ("output",)


def one_to_all(one: Tensor, boxes: Tensor) -> Tensor:
    return box_iou(one[None], boxes)[0]


@pytest.mark.parametrize("name", DETECTORS)
def test_a_lens_explains_the_surest_box(name: str) -> None:
    make, adapter = DETECTORS[name]
    network = make().double()
    lens = NetLens(FlatModel.from_nn_Module(network, adapter=adapter), IMAGES)
    leaf = IMAGES.clone().requires_grad_()
    _, logits, scores = read(name, network(leaf))
    surest = scores.amax(1).argmax(1)
    assert lens.targets == tuple(surest.tolist())
    assert_close(lens.scores.probabilities, scores.amax(1))
    rows, chosen = [0, 1], scores[[0, 1], :, surest].argmax(1)
    (gradient,) = torch.autograd.grad(logits[rows, chosen, surest].sum(), leaf)
    assert_close(lens.saliency().values, gradient.abs())
    covered = IMAGES.clone()
    covered[:, :, :8, :8] = 0
    change = logits[rows, chosen, surest] - read(name, network(covered))[1][rows, chosen, surest]
    assert_close(lens.occlusion(window=8, stride=8).values[:, 0, 0, 0], change.detach())
    assert lens.grad_cam(layer="body").heatmap().shape == (2, 1, 32, 48)
    with pytest.raises(NotApplicable, match=r"no detector that netlens supports.*Adapter\(detections="):
        NetLens(network, IMAGES, objective=box(1)).saliency()
    with pytest.raises(NotApplicable, match=r"Adapter\(detections=") as refused:
        NetLens(network, IMAGES).saliency()
    assert "a class alone names no number" in str(refused.value)

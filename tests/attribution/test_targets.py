"""Attribution of regions, boxes and any function of the output, against gradients of the original networks by hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.models import detection, segmentation

from netlens import NetLens
from netlens.adapters.detection import BoxClassifier
from netlens.attribution import GradCAM, InputXGradient, IntegratedGradients, Method, Occlusion, Saliency
from netlens.errors import NetLensWarning, NotApplicable
from netlens.evaluation import randomize_
from netlens.flat import FlatModel
from netlens.objectives import Objective, box, logit, output, region

X = torch.rand(2, 3, 48, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
ROI = torch.tensor([[5.0, 4.0, 40.0, 30.0], [20.0, 10.0, 60.0, 45.0]], dtype=torch.float64)


@dataclass(frozen=True)
class Task:
    """A network with an objective for both samples and for each alone, and its value computed by hand."""

    network: Any
    flat: FlatModel
    objective: Objective
    alone: tuple[Objective, Objective]
    by_hand: Callable[[Tensor], Tensor]


def random(builder: Callable[..., nn.Module], **options: Any) -> Any:
    return randomize_(builder(weights=None, weights_backbone=None, num_classes=4, **options)).double()


def ssdlite() -> Any:
    network = random(detection.ssdlite320_mobilenet_v3_large)
    network.transform.fixed_size = (96, 64)  # width and height at which it looks at images; smaller, for speed
    return network


def over_masks() -> Task:
    network = random(segmentation.lraspp_mobilenet_v3_large)
    masks = torch.rand(2, 48, 64, generator=torch.Generator().manual_seed(1)) > 0.7

    def by_hand(x: Tensor) -> Tensor:
        maps = network(x)["out"]
        return torch.stack([maps[i, c][masks[i]].mean() for i, c in enumerate((0, 3))])

    alone = (region(0, masks[0]), region(3, masks[1]))
    return Task(network, FlatModel.from_nn_Module(network), region([0, 3], masks), alone, by_hand)


def where_predicted() -> Task:
    network = random(segmentation.lraspp_mobilenet_v3_large)
    with torch.no_grad():
        where = network(X)["out"].argmax(1)
    first, second = (int(where[i].flatten().mode().values) for i in range(2))

    def by_hand(x: Tensor) -> Tensor:
        maps = network(x)["out"]
        return torch.stack([maps[i, c][where[i] == c].mean() for i, c in enumerate((first, second))])

    alone = (region(first), region(second))
    return Task(network, FlatModel.from_nn_Module(network), region([first, second]), alone, by_hand)


def in_anchors() -> Task:
    network = ssdlite()

    def logits(x: Tensor) -> Tensor:
        return network.head(list(network.backbone(network.transform(list(x))[0].tensors).values()))["cls_logits"]

    with torch.no_grad():
        best = logits(X).softmax(-1).argmax(1)

    def by_hand(x: Tensor) -> Tensor:
        return torch.stack([logits(x)[i, best[i, c], c] for i, c in enumerate((1, 3))])

    return Task(network, FlatModel.from_nn_Module(network), box([1, 3]), (box(1), box(3)), by_hand)


def in_proposals() -> Task:
    network = random(detection.fasterrcnn_mobilenet_v3_large_320_fpn, min_size=64)
    flat = FlatModel.from_nn_Module(BoxClassifier(network, ROI))
    with torch.no_grad():
        best = flat(X).scores.argmax(1)

    def by_hand(x: Tensor) -> Tensor:
        images, _ = network.transform(list(x))
        features = network.backbone(images.tensors)
        height, width = images.image_sizes[0]
        boxes = ROI * torch.tensor([width / 64, height / 48] * 2, dtype=torch.float64)
        heads = network.roi_heads
        pooled = heads.box_roi_pool(features, [boxes] * len(x), images.image_sizes)
        logits = heads.box_predictor(heads.box_head(pooled))[0].view(len(x), 2, 4)
        return torch.stack([logits[i, best[i, c], c] for i, c in enumerate((2, 0))])

    return Task(network, flat, box([2, 0]), (box(2), box(0)), by_hand)


TASKS = {"over masks": over_masks, "where predicted": where_predicted, "anchors": in_anchors, "proposals": in_proposals}


@pytest.fixture(scope="module", params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    return TASKS[request.param]()


def test_the_gradient_is_that_of_the_original_network_by_hand(task):
    x = X.clone().requires_grad_()
    task.by_hand(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert_close(InputXGradient()(task.flat, X, task.objective).values, x.grad * X, rtol=1e-9, atol=1e-12)


def test_occlusion_is_the_fall_of_the_value_by_hand(task):
    values = Occlusion(window=(24, 32), stride=(24, 32))(task.flat, X, task.objective).values
    expected = torch.zeros_like(X)
    with torch.no_grad():
        for rows in (slice(0, 24), slice(24, 48)):
            for columns in (slice(0, 32), slice(32, 64)):
                covered = X.clone()
                covered[:, :, rows, columns] = 0
                expected[:, :, rows, columns] = (task.by_hand(X) - task.by_hand(covered))[:, None, None, None]
    assert_close(values, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "method", [Saliency(), GradCAM(), IntegratedGradients(n_steps=2)], ids=lambda m: type(m).__name__
)
def test_a_batch_equals_its_samples(task, method: Method):
    whole = method(task.flat, X, task.objective)
    assert whole.values.abs().sum() > 0
    for i, objective in enumerate(task.alone):
        single = method(task.flat, X[i : i + 1], objective)
        assert_close(whole.values[i : i + 1], single.values, rtol=1e-9, atol=1e-11)
        assert whole[i].provenance.targets == single.provenance.targets


# the facade


def test_the_facade_explains_a_class_where_it_is_predicted():
    task = where_predicted()
    lens = NetLens(task.network, X)
    assert lens.targets == task.objective.targets(task.flat, 2)
    assert_close(lens.saliency().values, Saliency()(task.flat, X, task.objective).values)
    shares = task.network(X)["out"].softmax(1).mean((2, 3))
    assert lens.predictions(k=1)[0][0].probability == pytest.approx(shares[0].max().item())


def test_a_class_that_is_predicted_nowhere_is_explained_over_the_whole_image():
    network = random(segmentation.lraspp_mobilenet_v3_large)
    with torch.no_grad():
        network.classifier.low_classifier.bias[2] = -1e6
    with pytest.warns(NetLensWarning, match="which lraspp does not predict"):
        lens = NetLens(network, X, target=2)
    assert_close(lens.saliency().values, Saliency()(lens.flat, X, logit(2)).values)


def test_the_background_is_explained_only_when_it_is_asked_for():
    network = randomize_(segmentation.lraspp_mobilenet_v3_large(weights_backbone=None)).double()
    with torch.no_grad():
        maps = network(X[:1])["out"]
        network.classifier.low_classifier.bias[0] += maps.amax() - maps[:, 0].quantile(0.2)  # most of the image
    counts = network(X[:1])["out"].argmax(1).flatten().bincount(minlength=21)
    assert counts.argmax() == 0 and counts[1:].sum() > 0
    assert NetLens(network, X[:1]).targets == (int(counts[1:].argmax()) + 1,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert NetLens(network, X[:1], target="__background__").targets == (0,)


def test_the_facade_explains_the_surest_box_of_a_detector():
    network = ssdlite()
    lens = NetLens(network, X)
    scores = lens.flat(X).scores
    assert lens.targets == tuple((scores.amax(1)[:, 1:].argmax(1) + 1).tolist())
    assert lens.predictions(k=1)[1][0].probability == pytest.approx(scores[1].max().item())
    assert_close(lens.saliency().values, Saliency()(lens.flat, X, box(list(lens.targets))).values)


def test_the_facade_finds_the_proposals_of_a_two_stage_detector_on_the_image():
    network = random(detection.fasterrcnn_mobilenet_v3_large_320_fpn, min_size=64)
    lens = NetLens(network, X[:1])
    again = FlatModel.from_nn_Module(network, images=X[:1])
    assert_close(lens.saliency().values, Saliency()(again, X[:1], box(lens.targets[0])).values)
    assert lens.image.equal(X[:1].float())


# any function of the output


class Answers(nn.Module):
    """A network with several answers, in a dict or a tuple."""

    def __init__(self, structure: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.structure = structure

    def forward(self, x: Tensor) -> Any:
        maps = self.conv(x).relu()
        return self.structure(maps, maps.mean((2, 3)))


@pytest.mark.parametrize(
    ("structure", "read"),
    [
        (lambda maps, depth: {"maps": maps, "depth": [depth]}, lambda out: out["depth"][0][:, 2]),
        (lambda maps, depth: (maps, (depth, depth * 2)), lambda out: out[1][1][:, 2] / 2),
    ],
    ids=["dict", "tuple"],
)
def test_any_function_of_the_output_in_its_own_structure(structure, read):
    torch.manual_seed(0)
    network = Answers(structure).double()
    flat = FlatModel.from_nn_Module(network)
    x = X.clone().requires_grad_()
    network.conv(x).relu().mean((2, 3))[:, 2].sum().backward()
    assert_close(Saliency()(flat, X, output(read, "depth")).values, x.grad.abs())
    assert repr(output(read, "depth")) == "depth"
    with pytest.raises(NotApplicable, match="one number per sample"):
        Saliency()(flat, X, output(lambda out: torch.zeros(())))

"""Segmentation networks and detectors of torchvision, unrolled: nothing opaque, and the numbers of the originals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.models import detection, segmentation

from netlens.adapters.detection import BoxClassifier, DenseDetector, proposals
from netlens.errors import NetLensError
from netlens.evaluation import randomize_
from netlens.flat import FlatModel
from netlens.flat.adapter import Detections


def images(height: int = 64, width: int = 80) -> Tensor:
    return torch.rand(2, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def random(builder: Callable[..., nn.Module], **options: Any) -> nn.Module:
    return randomize_(builder(weights=None, weights_backbone=None, **options)).double()


# segmentation


@pytest.mark.parametrize(
    ("builder", "options"),
    [
        (segmentation.lraspp_mobilenet_v3_large, {}),
        (segmentation.deeplabv3_mobilenet_v3_large, {"aux_loss": True}),
    ],
)
def test_segmentation_is_unrolled_whole_and_equal(builder, options):
    network = random(builder, **options)
    flat = FlatModel.from_nn_Module(network)
    x = images(65, 81)
    with torch.no_grad():
        expected, output = network(x), flat(x)
    assert flat.opaque == {}
    assert output.keys() == expected.keys()
    for key, maps in expected.items():
        assert torch.equal(output[key], maps)
    assert flat.logits(output).shape == (2, 21, 65, 81)
    assert flat.classes.index("dog") == 12
    assert flat.adapter.background == 0
    assert flat.key(flat.adapter.cam_layer).startswith("backbone.")


def test_other_classes_than_those_of_voc_have_no_names():
    flat = FlatModel.from_nn_Module(segmentation.lraspp_mobilenet_v3_large(weights_backbone=None, num_classes=4))
    assert flat.classes is None and flat.adapter.background is None


# detection


def reported(flat: FlatModel, network: nn.Module, x: Tensor) -> int:
    """Each box that the detector reports is a candidate with its very score; returns how many there were."""
    with torch.no_grad():
        expected, candidates = network(list(x)), flat(x)
    assert isinstance(candidates, Detections)
    for i, detections in enumerate(expected):
        for box, score, label in zip(*(detections[key] for key in ("boxes", "scores", "labels")), strict=True):
            boxes = candidates.boxes[i] if candidates.boxes.ndim == 3 else candidates.boxes[i, :, label]
            # torchvision scales boxes back by a ratio in single precision
            near = (boxes - box).abs().amax(1) < 1e-4
            assert near.any()
            assert (candidates.scores[i, near, label] - score).abs().min() < 1e-10
    return sum(len(detections["boxes"]) for detections in expected)


def test_a_one_stage_detector_reports_some_of_the_candidates():
    network = random(detection.ssdlite320_mobilenet_v3_large)
    flat = FlatModel.from_nn_Module(network)
    x = images()
    assert flat.opaque == {}
    assert reported(flat, network, x) > 100
    candidates = flat(x)
    assert_close(candidates.scores, candidates.logits.softmax(-1))
    assert flat.adapter.background == 0 and flat.classes.index("dog") == 18
    assert torch.equal(flat.logits(candidates), candidates.logits.amax(1))


def two_stage(**options: Any) -> nn.Module:
    """Random weights shift boxes out of the image, where they are dropped; here they stay near their anchors."""
    few = {"num_classes": 5, "rpn_post_nms_top_n_test": 12}
    network: Any = random(detection.fasterrcnn_mobilenet_v3_large_320_fpn, **few, **options)
    predictor = network.roi_heads.box_predictor
    with torch.no_grad():
        for layer in (network.rpn.head.bbox_pred, predictor.bbox_pred, predictor.cls_score):
            layer.weight *= 0.01
    return network


def test_a_two_stage_detector_reports_some_of_the_candidates():
    network = two_stage(box_score_thresh=0.2, min_size=64)
    x = images(96, 128)
    boxes = proposals(network, x)
    flat = FlatModel.from_nn_Module(network, images=x)
    assert flat.opaque == {}
    assert reported(flat, network, x) > 10
    again = FlatModel.from_nn_Module(BoxClassifier(network, boxes))
    for one, other in zip(flat(x), again(x), strict=True):
        assert torch.equal(one, other)
    assert "roi_heads.box_predictor.cls_score" in flat.layers


@pytest.mark.parametrize("builder", [detection.retinanet_resnet50_fpn, detection.fcos_resnet50_fpn])
def test_small_images_of_sigmoid_detectors(builder):
    network = random(builder, min_size=64, max_size=96, num_classes=3)
    flat = FlatModel.from_nn_Module(network)
    assert flat.opaque == {} and flat.classes is None and flat.adapter.background is None
    assert reported(flat, network, images(48, 60)[:1]) > 0


def test_boxes_are_in_pixels_of_the_images_whatever_size_the_detector_looks_at():
    network = two_stage(min_size=64)
    x = images(32, 48)
    twice = nn.functional.interpolate(x, scale_factor=2, mode="nearest")
    box = torch.tensor([[4.0, 6.0, 30.0, 28.0]], dtype=torch.float64)
    small = FlatModel.from_nn_Module(BoxClassifier(network, box))
    large = FlatModel.from_nn_Module(BoxClassifier(network, 2 * box))
    assert small(x).boxes.shape == (2, 1, 5, 4)
    assert small.record(x, layers="regions")["regions"].shape == large.record(twice, layers="regions")["regions"].shape
    assert small(x).boxes.amax() <= 48 < large(twice).boxes.amax() <= 96


def test_the_detector_stays_as_it_was():
    network = random(detection.ssdlite320_mobilenet_v3_large).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    FlatModel.from_nn_Module(network)(images())
    assert network.training and network.head.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert type(network) is type(random(detection.ssdlite320_mobilenet_v3_large))


def test_a_two_stage_detector_needs_images_or_boxes():
    network = detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights_backbone=None)
    with pytest.raises(
        NetLensError, match=r"FasterRCNN scores boxes that it proposes for an image; give the image: .*images=x"
    ):
        FlatModel.from_nn_Module(network)
    with pytest.raises(NetLensError, match=r"boxes must be \(K, 4\)"):
        BoxClassifier(network, torch.zeros(0, 4))


def test_a_subclass_with_a_forward_of_its_own_is_not_taken_for_the_detector():
    class Own(detection.ssd.SSD):
        def forward(self, images: Tensor) -> Tensor:
            return self.backbone(images)["0"]

    network = random(detection.ssdlite320_mobilenet_v3_large)
    network.__class__ = Own
    x = images()
    assert_close(FlatModel.from_nn_Module(network)(x), network.backbone(x)["0"])
    assert isinstance(FlatModel.from_nn_Module(DenseDetector(network))(x), Detections)

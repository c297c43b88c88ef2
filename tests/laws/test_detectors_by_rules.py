"""DeepLIFT, LRP and excitation backprop explain every detector of torchvision, and DeepLIFT is complete on each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.models import detection

from netlens.adapters.detection import BoxClassifier
from netlens.attribution import LRP, DeepLift, DeepLiftShap, ExcitationBackprop, Method
from netlens.evaluation import randomize_
from netlens.flat import FlatModel
from netlens.objectives import output

X = torch.rand(1, 3, 48, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
BOXES = torch.tensor([[4.0, 4.0, 30.0, 40.0], [20.0, 8.0, 60.0, 44.0]], dtype=torch.float64)
ONE_STAGE = ("retinanet_resnet50_fpn", "fcos_resnet50_fpn", "ssdlite320_mobilenet_v3_large", "ssd300_vgg16")
TWO_STAGE = (
    *("fasterrcnn_mobilenet_v3_large_320_fpn", "fasterrcnn_resnet50_fpn"),
    *("maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn"),
)
FEW = output(lambda detections: detections.logits[:, :30].flatten(1)[:, 1::7].sum(1), "a few logits")


def flat_model(name: str) -> FlatModel:
    torch.manual_seed(0)
    options: dict[str, Any] = {} if name.startswith("ssd") else {"min_size": 48}
    network: nn.Module = getattr(detection, name)(weights=None, weights_backbone=None, **options)
    network = randomize_(network).double().eval()
    return FlatModel.from_nn_Module(network if name in ONE_STAGE else BoxClassifier(network, BOXES))


@pytest.mark.parametrize("name", [*ONE_STAGE, *TWO_STAGE])
def test_methods_of_rules_explain_every_detector(name: str) -> None:
    flat = flat_model(name)
    values: Tensor = DeepLift()(flat, X, FEW).values
    with torch.no_grad():
        now, then = (flat(images).logits[:, :30].flatten(1)[:, 1::7].sum(1) for images in (X, 0 * X))
    assert_close(values.flatten(1).sum(1), now - then, rtol=1e-8, atol=1e-8)
    methods: list[Method] = [LRP(), ExcitationBackprop()] if name != "ssd300_vgg16" else []  # which takes 300 x 300
    if name == "fasterrcnn_mobilenet_v3_large_320_fpn":
        methods.append(DeepLiftShap(n_samples=1))
    for method in methods:
        assert torch.isfinite(method(flat, X, FEW).values).all()


def test_the_boxes_of_a_detector_are_complete_too() -> None:
    flat = flat_model("fasterrcnn_mobilenet_v3_large_320_fpn")
    result = DeepLift()(flat, X, output(lambda detections: detections.boxes.flatten(1).sum(1), "edges"))
    change = flat(X).boxes.sum() - flat(0 * X).boxes.sum()
    assert abs(float(change)) > 1
    assert_close(result.values.sum(), change.detach(), rtol=1e-6, atol=0)

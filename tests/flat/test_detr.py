"""Detectors of transformers: the candidates are those that its own post-processing reports, and gradients are exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from netlens import NetLens
from netlens.flat import FlatModel
from netlens.objectives import Record, box, logit

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed, so there is no detector of it to test"
)

CLASSES = 4
NAMES = {0: "cat", 1: "dog", 2: "owl", 3: "fox"}
BACKBONE: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]}
BACKBONE |= {"layer_type": "basic"}
SMALL: dict[str, Any] = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
SMALL |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "num_queries": 6}


def detr() -> nn.Module:
    backbone = transformers.ResNetConfig(**BACKBONE, out_features=["stage4"])
    config = transformers.DetrConfig(
        use_timm_backbone=False, backbone=None, backbone_config=backbone, id2label=NAMES, **SMALL
    )
    return transformers.DetrForObjectDetection(config)


def yolos() -> nn.Module:
    config = transformers.YolosConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[64, 64],
        patch_size=16,
        num_detection_tokens=5,
        id2label=NAMES,
    )
    return transformers.YolosForObjectDetection(config)


def rt_detr() -> nn.Module:
    backbone = transformers.RTDetrResNetConfig(**BACKBONE, out_features=["stage2", "stage3", "stage4"])
    config = transformers.RTDetrConfig(
        backbone_config=backbone,
        encoder_hidden_dim=16,
        encoder_in_channels=[12, 16, 20],
        decoder_in_channels=[16, 16, 16],
        decoder_n_points=2,
        num_denoising=0,
        id2label=NAMES,
        **SMALL,
    )
    return transformers.RTDetrForObjectDetection(config)


DETECTORS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "DETR": (detr, "DetrImageProcessor"),
    "YOLOS": (yolos, "YolosImageProcessor"),
    "RT-DETR": (rt_detr, "RTDetrImageProcessor"),
}
X = torch.rand(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=DETECTORS)
def detector(request: pytest.FixtureRequest) -> tuple[str, nn.Module, FlatModel]:
    make, _ = DETECTORS[request.param]
    torch.manual_seed(0)
    network = make().double().eval()
    with torch.no_grad():  # random weights hardly look at the image
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
    return request.param, network, FlatModel.from_nn_Module(network)


def expected_of(name: str, output: Any) -> tuple[Tensor, Tensor]:
    """The scores of the classes before and after the softmax or sigmoid."""
    if name == "RT-DETR":
        return output.logits, output.logits.sigmoid()
    return output.logits[..., :-1], output.logits.softmax(-1)[..., :-1]


def test_every_box_that_transformers_reports_is_a_candidate(detector: tuple[str, nn.Module, FlatModel]) -> None:
    name, network, flat = detector
    processor = getattr(transformers, DETECTORS[name][1])()
    with torch.no_grad():
        output = network(X)
        reported = processor.post_process_object_detection(output, 0.0, target_sizes=[(64, 64)] * 2)
    detections = Record(flat, flat.record(X, layers="output")).detections((64, 64))
    assert detections is not None and detections.logits.shape == (*output.logits.shape[:2], CLASSES)
    for n, report in enumerate(reported):
        assert len(report["scores"]) >= 5
        for score, label, corners in zip(report["scores"], report["labels"], report["boxes"], strict=True):
            differences = (detections.boxes[n] - corners).abs().amax(1) / 64 + (
                detections.scores[n, :, label] - score
            ).abs()
            assert differences.min() < 1e-6


def test_a_lens_explains_the_surest_box(detector: tuple[str, nn.Module, FlatModel]) -> None:
    name, network, flat = detector
    lens = NetLens(flat, X)
    leaf = X.clone().requires_grad_()
    logits, scores = expected_of(name, network(leaf))
    surest = scores.amax(1).argmax(1)
    assert lens.targets == tuple(surest.tolist())
    assert lens.predictions(k=1)[0][0].name == NAMES[lens.targets[0]]
    assert_close(lens.scores.probabilities, scores.amax(1))
    rows, chosen = [0, 1], scores[[0, 1], :, surest].argmax(1)
    (gradient,) = torch.autograd.grad(logits[rows, chosen, surest].sum(), leaf, retain_graph=True)
    assert gradient.abs().amax() > 0
    tight = {"rtol": 1e-6, "atol": 1e-9 * float(gradient.abs().amax())}
    assert_close(lens.saliency().values, gradient.abs(), **tight)
    (highest,) = torch.autograd.grad(logits[:, :, 2].amax(1).sum(), leaf)
    assert_close(lens.saliency(objective=logit("owl")).values, highest.abs(), **tight)


def test_a_box_is_in_pixels_of_the_input(detector: tuple[str, nn.Module, FlatModel]) -> None:
    name, network, flat = detector
    with torch.no_grad():
        output = network(X)
    _, scores = expected_of(name, output)
    x, y, width, height = (output.pred_boxes * 64).unbind(-1)
    corners = torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -1)
    explained = box(1, corners[:, 3], probability=True)
    settled: Any = explained.settled(flat, X)
    score = scores[:, 3, 1]
    value = settled(Record(flat, flat.record(X, layers=settled.layers)))
    assert (value >= score).all()  # another candidate in about the same place may be surer
    assert_close(value, scores[[0, 1], settled.chosen, 1])

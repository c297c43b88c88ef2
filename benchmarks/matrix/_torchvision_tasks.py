"""torchvision's networks for segmentation, detection and video."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torchvision
from torchvision.models import detection, segmentation, video

from benchmarks.matrix._subject import Built, Subject, clip, image, with_random_weights


def subjects() -> Iterator[Subject]:
    def segment(name: str) -> Built:
        network = torchvision.models.get_model(name, weights=None, weights_backbone=None)
        return Built(with_random_weights(network), image(64, 64))

    def detect(name: str) -> Built:
        options: dict[str, Any] = {} if name.startswith("ssd") else {"min_size": 128, "max_size": 128}
        if "rcnn" in name:
            options["rpn_post_nms_top_n_test"] = 20
        network: Any = torchvision.models.get_model(name, weights=None, weights_backbone=None, **options)
        with_random_weights(network)
        if hasattr(network, "rpn"):  # random weights would shift all boxes out of the image, where they are dropped
            with torch.no_grad():
                network.rpn.head.bbox_pred.weight *= 0.01
        return Built(network, image(128, 128).sigmoid())

    def film(name: str) -> Built:
        frames, size = (16, 224) if name.startswith(("mvit", "s3d")) else (8, 64)
        return Built(with_random_weights(torchvision.models.get_model(name, weights=None)), clip(frames, size))

    for kind, module, build in (
        ("segmentation", segmentation, segment),
        ("detection", detection, detect),
        ("video", video, film),
    ):
        for name in torchvision.models.list_models(module=module):
            yield Subject(name, f"torchvision {kind}", partial(build, name))

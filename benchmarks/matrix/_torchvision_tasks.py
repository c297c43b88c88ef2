"""torchvision's networks for segmentation, detection and video."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torchvision
from torchvision.models import detection, segmentation, video

from benchmarks.matrix._subject import Built, Subject, clip, image


def subjects() -> Iterator[Subject]:
    def segment(name: str) -> Built:
        network = torchvision.models.get_model(name, weights=None, weights_backbone=None)
        return Built(network, image(64, 64))

    def detect(name: str) -> Built:
        options: dict[str, Any] = {} if name.startswith("ssd") else {"min_size": 128, "max_size": 128}
        if "rcnn" in name:
            options["rpn_post_nms_top_n_test"] = 20
        network: Any = torchvision.models.get_model(name, weights=None, weights_backbone=None, **options)
        return Built(network, image(128, 128).sigmoid())

    def film(name: str) -> Built:
        frames, size = (16, 224) if name.startswith(("mvit", "s3d")) else (8, 64)
        return Built(torchvision.models.get_model(name, weights=None), clip(frames, size))

    for kind, module, build in (
        ("segmentation", segmentation, segment),
        ("detection", detection, detect),
        ("video", video, film),
    ):
        for name in torchvision.models.list_models(module=module):
            yield Subject(name, f"torchvision {kind}", partial(build, name))

"""open_clip's encoders of images, and one with its encoder of texts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import open_clip
import torch

from benchmarks.matrix._subject import Built, Subject, image


def subjects() -> Iterator[Subject]:
    def encoder(name: str) -> Built:
        network: Any = open_clip.create_model(name).visual
        size = network.image_size
        height, width = size if isinstance(size, tuple) else (size, size)
        return Built(network, image(height, width))

    def pair(name: str) -> Built:
        network = open_clip.create_model(name)
        return Built(network, (image(224, 224), torch.randint(0, 1000, (1, 77))))

    for name in ("RN50", "ViT-B-32", "ViT-S-32-alt", "MobileCLIP-S1", "PE-Core-T-16-384", "convnext_base"):
        yield Subject(f"{name}, image encoder", "open_clip", partial(encoder, name))
    yield Subject("ViT-S-32-alt, image and text", "open_clip", partial(pair, "ViT-S-32-alt"))

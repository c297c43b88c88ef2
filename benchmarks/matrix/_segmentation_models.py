"""segmentation_models_pytorch: every architecture, and several encoders."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import segmentation_models_pytorch as smp

from benchmarks.matrix._subject import Built, Subject, image


def subjects() -> Iterator[Subject]:
    def build(name: str, encoder: str, options: dict[str, Any]) -> Built:
        network = smp.create_model(name, encoder, encoder_weights=None, classes=4, **options)
        return Built(network, image(128, 128))

    for name, architecture in smp.MODEL_ARCHITECTURES_MAPPING.items():
        dpt: dict[str, Any] = {"dynamic_img_size": True} if name == "dpt" else {}
        encoder = "tu-vit_tiny_patch16_224" if name == "dpt" else "resnet18"
        yield Subject(
            f"{architecture.__name__}, {encoder}", "segmentation_models_pytorch", partial(build, name, encoder, dpt)
        )
    for encoder in (
        "mobilenet_v2",
        "efficientnet-b0",
        "mit_b0",
        "mobileone_s0",
        "timm-regnetx_002",
        "tu-convnext_atto",
    ):
        yield Subject(f"Unet, {encoder}", "segmentation_models_pytorch", partial(build, "unet", encoder, {}))
    options = {"decoder_attention_type": "scse", "aux_params": {"classes": 3, "pooling": "avg"}}
    yield Subject(
        "Unet, resnet18, scse, auxiliary head",
        "segmentation_models_pytorch",
        partial(build, "unet", "resnet18", options),
    )

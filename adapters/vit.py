"""ViT and MaxViT, which expect images of their own sizes."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from netlens.flat.adapter import Adapter, register
from netlens.preprocessing import IMAGENET


@register("torchvision.models.vision_transformer.VisionTransformer")
def vit(network: nn.Module) -> Adapter:
    size = int(network.image_size)  # type: ignore[arg-type]
    preprocessing = replace(IMAGENET, size=(size, size), resize=size if size > 224 else round(size * 256 / 224))
    return Adapter(preprocessing=preprocessing)


@register("torchvision.models.maxvit.MaxVit")
def maxvit(network: nn.Module) -> Adapter:
    preprocessing = replace(IMAGENET, resize=224, interpolation="bicubic")
    return Adapter(preprocessing=preprocessing)

"""ViT, whose tokens are a class token and the patches, row by row; and MaxViT, whose tokens lie in windows."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from netlens.flat import FlatModel
from netlens.flat.adapter import Adapter, register
from netlens.preprocessing import IMAGENET


def _vit_grid(flat: FlatModel, key: str, activation: Tensor) -> Tensor | None:
    """Maps (N, C, side, side) of the tokens (N, 1 + side^2, C), without the class token."""
    if key in (*flat.inputs, "conv_proj") or key.startswith("conv_proj."):
        return activation
    if activation.ndim != 3:
        return None
    patches = activation.shape[1] - 1
    side = round(patches**0.5)
    return activation[:, 1:].transpose(1, 2).unflatten(2, (side, side)) if side**2 == patches > 0 else None


@register("torchvision.models.vision_transformer.VisionTransformer")
def vit(network: nn.Module) -> Adapter:
    size = int(network.image_size)  # type: ignore[arg-type]
    preprocessing = replace(IMAGENET, size=(size, size), resize=size if size > 224 else round(size * 256 / 224))
    blocks = len(network.encoder.layers)  # type: ignore[union-attr, arg-type]
    # after this layer, only the class token influences the output
    last_layer = f"encoder.layers.encoder_layer_{blocks - 1}.ln_1"
    return Adapter(cam_layer=last_layer, preprocessing=preprocessing, grid=_vit_grid)


def _maxvit_grid(flat: FlatModel, key: str, activation: Tensor) -> Tensor | None:
    """Maps (N, C, h, w). None between `partition_op` and `departition_op`, where activations are windows."""
    is_window = "_attention." in key and not key.split("_attention.")[1].startswith("departition_op")
    return None if is_window or activation.ndim != 4 else activation


@register("torchvision.models.maxvit.MaxVit")
def maxvit(network: nn.Module) -> Adapter:
    preprocessing = replace(IMAGENET, resize=224, interpolation="bicubic")
    return Adapter(cam_layer="blocks", preprocessing=preprocessing, grid=_maxvit_grid)

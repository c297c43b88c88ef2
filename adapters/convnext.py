"""ConvNeXt: within a block, the channels of maps are the last dimension."""

from __future__ import annotations

from torch import Tensor, nn

from netlens.flat import FlatModel
from netlens.flat.adapter import Adapter, register

# channels are last between the two permutations of a block, and within a LayerNorm2d
_CHANNELS_LAST = tuple(f".block.{i}" for i in range(1, 6))
_NORM = (".permute", ".layer_norm")
_BACK = ".block.6.permute"


def _grid(flat: FlatModel, key: str, activation: Tensor) -> Tensor | None:
    if activation.ndim != 4:
        return None
    is_channels_last = key.endswith((*_CHANNELS_LAST, *_NORM)) and not key.endswith(_BACK)
    return activation.permute(0, 3, 1, 2) if is_channels_last else activation


@register("torchvision.models.convnext.ConvNeXt")
def convnext(network: nn.Module) -> Adapter:
    return Adapter(cam_layer="features", grid=_grid)

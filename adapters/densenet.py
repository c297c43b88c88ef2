"""DenseNet: its last map comes from a functional ReLU after the features, which is no module."""

from __future__ import annotations

from torch import nn

from netlens.flat.adapter import Adapter, register


@register("torchvision.models.densenet.DenseNet")
def densenet(network: nn.Module) -> Adapter:
    return Adapter(cam_layer="relu")

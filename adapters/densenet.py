"""DenseNet: its last map is a functional ReLU after the features, which no module names."""

from __future__ import annotations

from torch import nn

from netlens.flat.adapter import Adapter, register


@register("torchvision.models.densenet.DenseNet")
def densenet(network: nn.Module) -> Adapter:
    return Adapter(cam_layer="relu")

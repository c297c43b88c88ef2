"""DenseNet: its last map is the output of a ReLU that is called as a function, after the module `features`."""

from __future__ import annotations

from torch import nn

from netlens.flat.adapter import Adapter, register


@register("torchvision.models.densenet.DenseNet")
def densenet(network: nn.Module) -> Adapter:
    return Adapter(cam_layer="relu")

"""ResNet, ResNeXt, Wide ResNet and RegNet."""

from __future__ import annotations

from torch import nn

from netlens.flat.adapter import Adapter, register


@register("torchvision.models.resnet.ResNet")
def resnet(network: nn.Module) -> Adapter:
    return Adapter(cam_layer="layer4")


@register("torchvision.models.regnet.RegNet")
def regnet(network: nn.Module) -> Adapter:
    return Adapter(cam_layer="trunk_output")

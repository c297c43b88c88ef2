"""GoogLeNet and Inception v3. Each of their blocks ends with a concatenation of branches."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from netlens.flat.adapter import Adapter, register
from netlens.preprocessing import IMAGENET


@register("torchvision.models.googlenet.GoogLeNet")
def googlenet(network: nn.Module) -> Adapter:
    return Adapter(cam_layer="inception5b")


@register("torchvision.models.inception.Inception3")
def inception(network: nn.Module) -> Adapter:
    return Adapter(cam_layer="Mixed_7c", preprocessing=replace(IMAGENET, size=(299, 299), resize=342))

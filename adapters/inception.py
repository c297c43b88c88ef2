"""Inception v3, which expects larger images."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from netlens.flat.adapter import Adapter, register
from netlens.preprocessing import IMAGENET


@register("torchvision.models.inception.Inception3")
def inception(network: nn.Module) -> Adapter:
    return Adapter(preprocessing=replace(IMAGENET, size=(299, 299), resize=342))

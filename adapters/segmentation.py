"""Segmentation: networks that return a dict with maps of scores (N, classes, H, W) under "out"."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from netlens.classes import ClassNames
from netlens.flat.adapter import Adapter, register
from netlens.preprocessing import IMAGENET

# the published recipes resize the shorter side to 520; a square crop makes images of equal size
_PREPROCESSING = replace(IMAGENET, size=(520, 520), resize=520)


@register(
    "torchvision.models.segmentation.lraspp.LRASPP", "torchvision.models.segmentation._utils._SimpleSegmentationModel"
)
def segmentation(network: Any) -> Adapter:
    """FCN, DeepLabV3 and LR-ASPP. A network with 21 classes gets the class names of Pascal VOC."""
    classes = voc()
    is_voc = _count(network) == len(classes)
    return Adapter(
        cam_layer="backbone",  # the layers after it are the class scores themselves
        preprocessing=_PREPROCESSING,
        classes=classes if is_voc else None,
        background=0 if is_voc else None,
    )


def voc() -> ClassNames:
    """The 21 classes of Pascal VOC in the order of torchvision's networks; the background is the first."""
    from torchvision.models.segmentation import FCN_ResNet50_Weights

    return ClassNames(FCN_ResNet50_Weights.DEFAULT.meta["categories"])


def _count(network: nn.Module) -> int | None:
    """The number of classes: the output channels of the last convolution of the head; None if it has none."""
    convolutions = [part for part in network.get_submodule("classifier").modules() if isinstance(part, nn.Conv2d)]
    return convolutions[-1].out_channels if convolutions else None

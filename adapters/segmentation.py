"""Segmentation: networks that return a dict, whose entry "out" holds maps of scores (N, classes, H, W)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from netlens.classes import ClassNames
from netlens.flat.adapter import Adapter, register
from netlens.preprocessing import IMAGENET

# the published preprocessing resizes the shorter side to 520; the square crop makes all images equally large
_PREPROCESSING = replace(IMAGENET, size=(520, 520), resize=520)


@register(
    "torchvision.models.segmentation.lraspp.LRASPP", "torchvision.models.segmentation._utils._SimpleSegmentationModel"
)
def segmentation(network: Any) -> Adapter:
    """FCN, DeepLabV3 and LR-ASPP. A network with 21 classes gets the class names of Pascal VOC."""
    classes = voc()
    is_voc = _count(network) == len(classes)
    return Adapter(
        cam_layer="backbone",  # the layers after it compute class scores
        preprocessing=_PREPROCESSING,
        classes=classes if is_voc else None,
        background=0 if is_voc else None,
    )


def voc() -> ClassNames:
    """The 21 classes of Pascal VOC, in the order of torchvision's networks. The first class is the background."""
    from torchvision.models.segmentation import FCN_ResNet50_Weights

    return ClassNames(FCN_ResNet50_Weights.DEFAULT.meta["categories"])


def _count(network: nn.Module) -> int | None:
    """The number of classes: the output channels of the last convolution of the head. None if there is none."""
    convolutions = [module for module in network.get_submodule("classifier").modules() if isinstance(module, nn.Conv2d)]
    return convolutions[-1].out_channels if convolutions else None

"""Segmentation: networks that give maps of scores, one for each class, in a dict under "out"."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from netlens.classes import ClassNames
from netlens.flat.adapter import Adapter, register
from netlens.preprocessing import IMAGENET

# the published recipes resize the shorter side to 520; a square crop of that makes batches of equal images
_PREPROCESSING = replace(IMAGENET, size=(520, 520), resize=520)


@register(
    "torchvision.models.segmentation.lraspp.LRASPP", "torchvision.models.segmentation._utils._SimpleSegmentationModel"
)
def segmentation(network: Any) -> Adapter:
    """FCN, DeepLabV3 and LR-ASPP; with as many classes as Pascal VOC they are taken to be those."""
    classes = voc()
    named = _count(network) == len(classes)
    return Adapter(
        cam_layer="backbone",  # what follows it are the class scores themselves
        preprocessing=_PREPROCESSING,
        classes=classes if named else None,
        background=0 if named else None,
    )


def voc() -> ClassNames:
    """The 21 classes of Pascal VOC in the order of torchvision's networks, the background first."""
    from torchvision.models.segmentation import FCN_ResNet50_Weights

    return ClassNames(FCN_ResNet50_Weights.DEFAULT.meta["categories"])


def _count(network: nn.Module) -> int | None:
    """How many classes the head scores, where its last convolution says so."""
    convolutions = [part for part in network.get_submodule("classifier").modules() if isinstance(part, nn.Conv2d)]
    return convolutions[-1].out_channels if convolutions else None

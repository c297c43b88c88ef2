"""What netlens knows about particular architectures; importing this package registers all of it.

One file per family. A package of yours adds its own through an entry point in the group `netlens.adapters`.
"""

from . import attention, convnext, densenet, detection, inception, resnet, segmentation, swin, transformer, vit

__all__ = [
    "attention",
    "convnext",
    "densenet",
    "detection",
    "inception",
    "resnet",
    "segmentation",
    "swin",
    "transformer",
    "vit",
]

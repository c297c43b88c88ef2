"""Adapters for particular families of networks, one file for each family. The import of this package registers them.

Another package registers its own adapters through an entry point in the group `netlens.adapters`.
"""

from . import attention, detection, detr, huggingface, inception, segmentation, swin, timm, transformer, vit

__all__ = [
    "attention",
    "detection",
    "detr",
    "huggingface",
    "inception",
    "segmentation",
    "swin",
    "timm",
    "transformer",
    "vit",
]

"""Transforms: small disturbances of a picture. An optimized picture must excite the network after them, too.

So it shows structure, and not noise.

>>> import torch
>>> generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
>>> standard()(torch.rand(2, 3, 64, 48), generators).shape
torch.Size([2, 3, 64, 48])
"""

from netlens.visualization.transforms._affine import Geometric, Jitter, Rotate, Scale, Shear, View
from netlens.visualization.transforms._base import Generators, Size, Transform, shaped
from netlens.visualization.transforms._crops import CenterCrop, Fit, Pad, RandomCrop, ZoomCrop
from netlens.visualization.transforms._disturb import Blur, Flip, Noise
from netlens.visualization.transforms._standard import Chain, cropped, standard

__all__ = [
    "Blur",
    "CenterCrop",
    "Chain",
    "Fit",
    "Flip",
    "Generators",
    "Geometric",
    "Jitter",
    "Noise",
    "Pad",
    "RandomCrop",
    "Rotate",
    "Scale",
    "Shear",
    "Size",
    "Transform",
    "View",
    "ZoomCrop",
    "cropped",
    "shaped",
    "standard",
]

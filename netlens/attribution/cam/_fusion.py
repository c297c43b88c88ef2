"""Class activation maps of several layers as one map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from netlens.attribution.cam._sides import resized
from netlens.options import checked

Fusion = Literal["mean", "max", "product"]


def fused(cams: Sequence[Tensor], how: Fusion) -> Tensor:
    """One map (N, 1, h, w) of several maps, resized to the finest of their resolutions and fused position by position.

    >>> coarse, fine = torch.ones(1, 1, 1, 1), torch.tensor([[[[0.0, 1.0]]]])
    >>> [fused([coarse, fine], how).flatten().tolist() for how in ("mean", "max", "product")]
    [[0.5, 1.0], [1.0, 1.0], [0.0, 1.0]]
    """
    checked("fusion", how, Fusion)
    finest = max((cam.shape[2:] for cam in cams), key=math.prod)
    alike = torch.stack([resized(cam, finest) for cam in cams])
    if how == "mean":
        return alike.mean(0)
    return alike.amax(0) if how == "max" else alike.prod(0)


def by_maximum(cam: Tensor) -> Tensor:
    """The map of each sample divided by its largest magnitude; zeros stay zeros."""
    largest = cam.abs().amax(tuple(range(1, cam.ndim)), keepdim=True)
    return cam / largest.clamp(min=torch.finfo(cam.dtype).tiny)

"""Disturbances of training images that do not change the label, so that the network learns only shape and texture."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

SHIFT: Final = 10
"""The largest shift in each direction, in pixels."""


def augment(images: Tensor, generator: Generator) -> Tensor:
    """(N, 3, H, W): images of bytes as colors in about [0, 1], after random shifts, color changes, blur, noise, ..."""
    x = _moved(images, generator).float() / 255
    x = _recolored(x, generator)
    soft = _chosen(len(x), 0.25, generator)
    x[soft] = F.avg_pool2d(x[soft], 3, stride=1, padding=1, count_include_pad=False)
    _erase(x, generator)
    noisy = _chosen(len(x), 0.5, generator)
    strength = torch.rand(int(noisy.sum()), 1, 1, 1, generator=generator) * 0.15
    x[noisy] += torch.randn(x[noisy].shape, generator=generator) * strength
    return x


def _chosen(n: int, share: float, generator: Generator) -> Tensor:
    """(n,), bool: a random choice of n images, each with the probability `share`."""
    return torch.rand(n, generator=generator) < share


def _moved(images: Tensor, generator: Generator) -> Tensor:
    """The images, shifted, with reflections at the borders; half of the images are mirrored left to right."""
    height, width = images.shape[-2:]
    padded = F.pad(images.float(), [SHIFT] * 4, mode="reflect")
    corners = torch.randint(2 * SHIFT + 1, (len(images), 2), generator=generator).tolist()
    moved = torch.stack(
        [image[:, y : y + height, x : x + width] for image, (y, x) in zip(padded, corners, strict=True)]
    )
    mirrored = _chosen(len(images), 0.5, generator)
    moved[mirrored] = moved[mirrored].flip(-1)
    return moved


def _recolored(x: Tensor, generator: Generator) -> Tensor:
    """The images with permuted colors, a random contrast, and a random brightness of each channel."""
    order = torch.rand(len(x), 3, generator=generator).argsort(dim=1)
    x = x[torch.arange(len(x))[:, None], order]
    contrast = 0.6 + 0.7 * torch.rand(len(x), 1, 1, 1, generator=generator)
    brightness = 0.5 + 0.2 * (torch.rand(len(x), 3, 1, 1, generator=generator) - 0.5)
    return (x - 0.5) * contrast + brightness


def _erase(x: Tensor, generator: Generator) -> None:
    """Put a plain square of 8 to 20 pixels into half of the images, in place."""
    size = x.shape[-1]
    for i in _chosen(len(x), 0.5, generator).nonzero().flatten().tolist():
        side = int(torch.randint(8, 21, (), generator=generator))
        top, left = torch.randint(size - side, (2,), generator=generator).tolist()
        x[i, :, top : top + side, left : left + side] = torch.rand(3, 1, 1, generator=generator)

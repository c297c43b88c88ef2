"""Parameterizations that can start at a picture."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NetLensError
from netlens.visualization.params._base import Size, Sized, extent_of, leaf
from netlens.visualization.params.color import from_image

S = TypeVar("S", bound="Startable")
P = TypeVar("P", bound="Invertible")


@dataclass(frozen=True)
class Startable(Sized):
    """Abstract: a parameterization that can start at a picture."""

    @abstractmethod
    def fitted(self: S, image: Tensor) -> S:
        """A parameterization of the same class that can represent these pictures (N, C, H, W) in [0, 1]."""

    def plain(self: S, **options: Any) -> S:
        """The same class with these options, and without tensors that were fitted to other pictures."""
        return replace(self, **options)

    @abstractmethod
    def encoded(self, values: Tensor) -> list[Tensor]:
        """The parameters for which `values` returns these values (N, C, H, W)."""

    def of_image(self, image: Tensor) -> list[Tensor]:
        """Leaf tensors for these pictures (N, C, H, W) in [0, 1]. The error is at most half a gray level of 8 bits."""
        if image.shape[1:] != (self.channels, *self.extent):
            expected = (self.channels, *self.extent)
            raise NetLensError(f"an image of {tuple(image.shape[1:])} cannot start a picture of {expected}; resize it.")
        with torch.inference_mode(False), torch.no_grad():
            return [leaf(tensor) for tensor in self.encoded(from_image(image.clone(), self.decorrelate, self.squash))]


@dataclass(frozen=True)
class Invertible(Startable):
    """Abstract: a parameterization that can represent every picture."""

    def fitted(self: P, image: Tensor) -> P:
        return self

    def resized(self: P, parameters: Sequence[Tensor], size: Size) -> tuple[P, list[Tensor]]:
        param = replace(self, size=size)
        with torch.no_grad():
            return param, param.of_image(resampled(self.image(parameters), size))


def resampled(images: Tensor, size: Size) -> Tensor:
    """Images (N, C, H, W) in [0, 1], resized by bicubic interpolation with antialiasing."""
    extent = extent_of(size)
    if images.shape[2:] == extent:
        return images
    return F.interpolate(images, extent, mode="bicubic", antialias=True).clamp(0, 1)

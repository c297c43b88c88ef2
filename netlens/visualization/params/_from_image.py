"""Parameterizations that start at a picture instead of noise."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from netlens.errors import ImageError, NetLensError, NonFiniteError
from netlens.images import Source, load
from netlens.options import check, option
from netlens.visualization.params._alpha import over
from netlens.visualization.params._base import Param, Size, leaf
from netlens.visualization.params._fourier import Fourier
from netlens.visualization.params._invertible import Startable, resampled
from netlens.visualization.params._wrapped import Wrapped
from netlens.visualization.params.color import gray


@dataclass(frozen=True, eq=False)
class FromImage(Wrapped):
    """A parameterization that starts at an image. The first picture equals the image, up to one gray level of 8 bits.

    The source is a tensor (C, H, W) or (N, C, H, W), or any source of `images.load`. The base is `Pixel`, `Fourier`,
    `Pyramid`, `Maco` or `CPPN`, as a class or as an instance with options. The size, batch, channels, seed and squash
    of an instance are ignored: colors go through a sine, because a sigmoid would keep black and white as they are. With
    `Maco`, the magnitudes of the waves stay those of the image. With `CPPN`, the output of the network is added to the
    image.
    """

    source: Tensor | Source = option(
        help="The image: a tensor in [0, 1] or of uint8, or a source of `images.load`.", repr=False
    )
    base: Startable | type[Startable] = option(Fourier, help="The parameterization of the picture.")
    size: Size | None = option(None, least=1, help="A side in pixels, or height and width; none for that of the image.")
    copies: int = option(1, least=1, help="Number of pictures that start at each image.")
    seed: int | Sequence[int] = option(0, least=0, help="Seed of the disturbances of the pictures.")
    gray: bool = option(False, help="Whether pictures have one channel, for a gray network.")
    pictures: Tensor = field(init=False, repr=False)
    """(N, C, H, W) in [0, 1]: the pictures at which it starts, in float32 if the source is, else in float64."""
    _inner: Startable = field(init=False, repr=False)

    def __post_init__(self) -> None:
        base = self.base if isinstance(self.base, type) else type(self.base)
        if not issubclass(base, Startable):
            raise NetLensError(f"Pixel, Fourier, Pyramid, Maco and CPPN can start at an image, {self.base!r} cannot.")
        check(self)
        pictures = pictures_of(self.source, 1 if self.gray else None)
        if self.size is not None:
            pictures = resampled(pictures, self.size)
        if isinstance(self.source, Tensor) and self.source.dtype == torch.float32:
            pictures = pictures.float()  # half of the memory, for large pictures
        self._start_at(pictures.repeat_interleave(self.copies, 0))

    @classmethod
    def sharing(cls, pictures: Tensor, base: Startable | type[Startable], seed: int) -> FromImage:
        """A start at pictures (N, C, H, W) in [0, 1] that are not copied. Nobody may change them."""
        param = cls(pictures, base, seed=seed)
        object.__setattr__(param, "pictures", pictures)
        return param

    def _start_at(self, pictures: Tensor) -> None:
        batch, channels, *extent = pictures.shape
        base = self.base if isinstance(self.base, Startable) else self.base()
        inner = base.plain(size=(extent[0], extent[1]), batch=batch, channels=channels, seed=self.seed, squash="sine")
        object.__setattr__(self, "pictures", pictures)
        object.__setattr__(self, "_inner", inner.fitted(pictures))

    @property
    def inner(self) -> Startable:
        return self._inner

    def start(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> list[Tensor]:
        return [leaf(tensor.to(device, dtype)) for tensor in self.inner.of_image(self.pictures)]

    def resized(self, parameters: Sequence[Tensor], size: Size) -> tuple[Param, list[Tensor]]:
        return self.inner.resized(parameters, size)

    def with_channels(self, channels: int) -> FromImage:
        """The same start with another number of channels. A new channel is 1 everywhere: alpha starts opaque."""
        images = colored(self.pictures, channels)[:, :channels]
        if channels > images.shape[1] + 1:
            raise ImageError(f"an image of {images.shape[1]} channels cannot start pictures of {channels}.")
        full = images.new_ones(len(images), channels - images.shape[1], *self.extent)
        param = copy(self)
        param._start_at(torch.cat([images, full], 1))
        return param


def pictures_of(image: Tensor | Source, channels: int | None = None) -> Tensor:
    """(N, C, H, W) in [0, 1], float64: an image with this number of channels. None keeps its 1 or 3 channels.

    Transparent parts become white.
    """
    pictures = _pictures(image)
    own_channels = pictures.shape[1]
    if own_channels == channels:
        return pictures
    if own_channels not in (1, 3, 4):
        shape = tuple(pictures.shape[1:])
        raise ImageError(f"an image must be (C, H, W) with C = 1, 3 or 4 channels, not {shape}; permute it.")
    if own_channels == 4:
        pictures = over(pictures, 1.0)
    return pictures if channels is None else colored(pictures, channels)


def colored(pictures: Tensor, channels: int) -> Tensor:
    """Pictures in gray if `channels` is 1, or in color if it is 3 or more. Other pictures stay unchanged."""
    if channels == 1:
        return gray(pictures[:, :3])
    return pictures.expand(-1, 3, -1, -1) if channels >= 3 and pictures.shape[1] == 1 else pictures


def _pictures(image: Tensor | Source) -> Tensor:
    if not isinstance(image, Tensor):
        return torch.from_numpy(np.array(load(image))).permute(2, 0, 1)[None].double() / 255
    if image.ndim not in (3, 4) or image.numel() == 0:
        raise ImageError(f"an image is (C, H, W) or (N, C, H, W), not {tuple(image.shape)}.")
    with torch.inference_mode(False):
        pictures = image.detach().clone().cpu().double() / (255 if image.dtype == torch.uint8 else 1)
    if not pictures.isfinite().all():
        raise NonFiniteError("the image holds NaN or Inf; replace them first, for example with torch.nan_to_num.")
    if pictures.min() < 0 or pictures.max() > 1:
        low, high = float(pictures.min()), float(pictures.max())
        raise ImageError(
            f"the image holds {low:.4g} to {high:.4g}, not [0, 1]; undo its preprocessing or clamp it first."
        )
    return pictures[None] if pictures.ndim == 3 else pictures

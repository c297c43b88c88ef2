"""From pictures to the numbers that a network was trained on, and back: resize, crop, normalize."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from numbers import Real
from statistics import fmean
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from netlens import images
from netlens.errors import ImageError, NetLensError, NonFiniteError

_INTERPOLATIONS = ("nearest", "nearest-exact", "bilinear", "bicubic", "lanczos", "box", "hamming")


@dataclass(frozen=True)
class Preprocessing:
    """What a network wants its pictures to be; called with pictures, it returns a batch (N,C,H,W) in float32.

    `resize` scales the shorter side to an int, or both to (height, width); `size` is the central crop (height, width),
    padded with black where the picture is smaller; None takes the whole picture. Values are then `(x - mean) / std` of
    x in [0,1]. One mean makes a grayscale batch. Bit for bit what torchvision's `ImageClassification` computes of a PIL
    image.

    >>> Preprocessing(size=(2, 2), resize=2, mean=(0.5,), std=(0.5,))(Image.new("RGB", (1, 1), "white"))
    tensor([[[[1., 1.],
              [1., 1.]]]])
    """

    size: tuple[int, int] | None
    resize: int | tuple[int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if not _are_numbers(self.mean) or not _are_numbers(self.std):
            raise ImageError(
                f"mean {self.mean!r} and std {self.std!r} are a finite number for each channel, as (0.5,)."
            )
        if self.size is not None and not isinstance(self.size, tuple):
            raise ImageError(f"size is (height, width) or None, not {self.size!r}.")
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise ImageError(f"mean and std have {len(self.mean)} and {len(self.std)} values; give 1 or 3 of each.")
        if not all(std > 0 for std in self.std):
            raise ImageError(f"std is {self.std}; each must be above 0.")
        if self.interpolation not in _INTERPOLATIONS:
            raise ImageError(
                f"interpolation {self.interpolation!r} is unknown; use one of {', '.join(_INTERPOLATIONS)}."
            )
        pairs = [pair for pair in (self.size, self.resize) if isinstance(pair, tuple)]
        sides = [*chain(*pairs), *(() if self.resize is None or isinstance(self.resize, tuple) else (self.resize,))]
        whole = all(isinstance(side, int | np.integer) and side >= 1 for side in sides)
        if not whole or any(len(pair) != 2 for pair in pairs):
            raise ImageError(
                f"size {self.size} or resize {self.resize} is not a (height, width) of at least one pixel."
            )

    @classmethod
    def from_transforms(cls, transforms: Any) -> Preprocessing:
        """That of a torchvision preset, `weights.transforms()`; one for segmentation gets a square crop."""
        try:
            resize = tuple(transforms.resize_size)
            crop = tuple(getattr(transforms, "crop_size", resize))
            mean, std, interpolation = transforms.mean, transforms.std, transforms.interpolation.value
        except (AttributeError, TypeError) as error:
            name = type(transforms).__name__
            raise ImageError(
                f"{name} is no preset with resize_size, mean and std; write Preprocessing(size=..., ...)."
            ) from error
        return cls(
            size=crop * 2 if len(crop) == 1 else crop,
            resize=resize[0] if len(resize) == 1 else resize,
            mean=tuple(mean),
            std=tuple(std),
            interpolation=interpolation,
        )

    def __call__(self, image: Any) -> Tensor:
        """One picture, or a list or tuple of them, of any kind that `images.load` takes, as (N,C,H,W)."""
        pictures = image if isinstance(image, list | tuple) else [image]
        if len(pictures) == 0:
            raise ImageError("an empty list holds no image; give at least one.")
        ready = [self._one(images.load(picture)) for picture in pictures]
        if len(shapes := {tuple(one.shape[1:]) for one in ready}) > 1:
            raise ImageError(f"the pictures of one batch have different sizes, {sorted(shapes)}; resize them alike.")
        return torch.stack(ready)

    def in_gray(self) -> Preprocessing:
        """The same for a network of one channel, which sees pictures in gray."""
        return replace(self, mean=(fmean(self.mean),), std=(fmean(self.std),))

    def normalize(self, x: Tensor) -> Tensor:
        """(..., C, H, W) in [0,1] to the network's units."""
        return (x - _column(self.mean, x)) / _column(self.std, x)

    def denormalize(self, x: Tensor) -> Tensor:
        """The inverse of `normalize`, clipped to [0,1]; shows a batch as the pictures it came from."""
        return (x * _column(self.std, x) + _column(self.mean, x)).clamp(0, 1)

    def _one(self, picture: Image.Image) -> Tensor:
        if len(self.mean) == 1:
            picture = picture.convert("L")
        picture = self._crop(self._resize(picture))
        values = (
            torch.from_numpy(np.array(picture)).view(picture.height, picture.width, len(self.mean)).permute(2, 0, 1)
        )
        return self.normalize(values.float().contiguous() / 255)

    def _resize(self, picture: Image.Image) -> Image.Image:
        if self.resize is None:
            return picture
        width, height = picture.size
        if isinstance(self.resize, int):
            short = min(width, height)
            new = (int(self.resize * width / short), int(self.resize * height / short))
        else:
            new = (self.resize[1], self.resize[0])
        if new[0] * new[1] > images.MAX_PIXELS:
            raise ImageError(f"an image of {width} × {height} would be resized to {new[0]} × {new[1]}; crop it first.")
        resample = Image.Resampling[self.interpolation.split("-")[0].upper()]
        return picture if new == picture.size else picture.resize(new, resample)

    def _crop(self, picture: Image.Image) -> Image.Image:
        if self.size is None:
            return picture
        top, left = (_start(have, want) for have, want in zip(reversed(picture.size), self.size, strict=True))
        return picture.crop((left, top, left + self.size[1], top + self.size[0]))


def _are_numbers(values: Any) -> bool:
    return isinstance(values, Sequence) and all(isinstance(one, Real) and math.isfinite(one) for one in values)


def _start(have: int, want: int) -> int:
    """Where a central crop starts; negative where it pads. Rounded as torchvision does, halves to even."""
    return -((want - have) // 2) if want > have else round((have - want) / 2)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    # either would broadcast or round to a silently wrong result
    if not like.is_floating_point() or like.ndim < 3 or like.shape[-3] != len(values):
        raise ImageError(f"expected floats (..., {len(values)}, H, W), found {like.dtype} {tuple(like.shape)}.")
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1)


IMAGENET = Preprocessing(size=(224, 224), resize=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""The usual one of ImageNet classifiers."""


def as_batch(x: Any, preprocessing: Preprocessing | None, channels: int | None = None) -> Tensor:
    """Anything that stands for images as a batch (N,C,H,W) that a network takes.

    A float tensor (C,H,W) or (N,C,H,W) is taken as preprocessed already. All else is a picture and is preprocessed: a
    uint8 tensor of these shapes, a path, bytes, a PIL image, an array (a 4-d one is a batch); and so is each item of a
    list or tuple. `channels` is how many the network takes, by default those of `preprocessing`, which may be None
    where only tensors come. Raises `ImageError`, and `NonFiniteError` with the index of the sample.

    >>> as_batch(torch.zeros(3, 8, 8), None).shape
    torch.Size([1, 3, 8, 8])
    """
    batches = _batches(x, preprocessing)
    batch = batches[0] if len(batches) == 1 else torch.cat(batches)  # a lone tensor stays the caller's own, uncopied
    expected = channels if channels is not None or preprocessing is None else len(preprocessing.mean)
    if expected is not None and batch.shape[1] != expected:
        hint = "; as it looks channels-last, permute it first" if batch.shape[-1] == expected else ""
        raise ImageError(
            f"expected {expected} channels, found {batch.shape[1]} in {tuple(batch.shape)} (N,C,H,W){hint}."
        )
    finite = batch.isfinite().flatten(1).all(1)
    if not finite.all():
        index = int(finite.logical_not().nonzero()[0])
        raise NonFiniteError(f"the input holds NaN or Inf in sample {index}; replace or drop that sample.")
    return batch


def _batches(x: Any, preprocessing: Preprocessing | None) -> list[Tensor]:
    if isinstance(x, Tensor):
        return [_tensor_batch(x, preprocessing)]
    if isinstance(x, list | tuple) or (isinstance(x, np.ndarray) and x.ndim == 4):
        return _each(x, preprocessing)
    return [_preprocessed(x, preprocessing)]


def _each(items: Sequence[Any] | np.ndarray, preprocessing: Preprocessing | None) -> list[Tensor]:
    if len(items) == 0:
        raise ImageError("an empty batch holds no image; give at least one.")
    batches = []
    for index, item in enumerate(items):
        try:
            batches += _batches(item, preprocessing)
        except NetLensError as error:
            raise type(error)(f"image {index} of {len(items)}: {error}") from error
    if len(shapes := {tuple(batch.shape[1:]) for batch in batches}) > 1:
        raise ImageError(f"the images of one batch have different shapes, {sorted(shapes)}; resize them alike.")
    return batches


def _tensor_batch(x: Tensor, preprocessing: Preprocessing | None) -> Tensor:
    if x.ndim not in (3, 4) or x.numel() == 0:
        raise ImageError(f"a tensor of shape {tuple(x.shape)} is no batch of images; give (C,H,W) or (N,C,H,W).")
    if x.layout != torch.strided or x.is_meta:
        kind = "on the meta device" if x.is_meta else f"of layout {x.layout}"
        raise ImageError(f"a tensor {kind} holds no picture that can be read; give a dense one with values.")
    batch = x if x.ndim == 4 else x[None]
    if x.dtype == torch.uint8:
        return _preprocessed([images.to_pil(image) for image in batch], preprocessing)
    if not x.is_floating_point():
        raise ImageError(f"a tensor of {x.dtype} is neither preprocessed (floats) nor a picture (uint8); convert it.")
    return batch


def _preprocessed(image: Any, preprocessing: Preprocessing | None) -> Tensor:
    if preprocessing is None:
        raise ImageError(
            "this network's preprocessing is not known; pass a Preprocessing, or a float tensor (N,C,H,W)."
        )
    return preprocessing(image)

"""Preprocessing: from pictures to the numbers that a network was trained on, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from netlens import images
from netlens.errors import ImageError, NetLensError, NonFiniteError
from netlens.finite import all_finite, first_bad
from netlens.options import check, option

_INTERPOLATIONS = ("nearest", "nearest-exact", "bilinear", "bicubic", "lanczos", "box", "hamming")


@dataclass(frozen=True)
class Preprocessing:
    """Makes batches of pictures as a network wants them: resized, cropped and normalized.

    Calling it with pictures returns a batch (N,C,H,W) in float32, (x − mean) / std of x in [0,1]. It computes the same
    bits as torchvision's `ImageClassification` does for a PIL image.

    The central crop is black where the picture is smaller. `mean` and `std` have three numbers for color, one for
    grayscale.

    Raises:
        ImageError: An option is out of bounds.

    Example:
        >>> Preprocessing(size=(2, 2), resize=2, mean=(0.5,), std=(0.5,))(Image.new("RGB", (1, 1), "white"))
        tensor([[[[1., 1.],
                  [1., 1.]]]])
    """

    size: tuple[int, int] | None = option(least=1, help="The central crop, height and width in pixels; none for all.")
    resize: int | tuple[int, int] | None = option(
        least=1, help="The shorter side in pixels, or height and width; none for no resizing."
    )
    mean: tuple[float, ...] = option(help="What is subtracted from colors in [0, 1], one number per channel.")
    std: tuple[float, ...] = option(above=0, help="By what they are then divided, one number per channel.")
    interpolation: str = option("bilinear", choices=_INTERPOLATIONS, help="How a picture is resized.")

    def __post_init__(self) -> None:
        check(self, ImageError)
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise ImageError(f"mean and std have {len(self.mean)} and {len(self.std)} values; give 1 or 3 of each.")

    @classmethod
    def from_transforms(cls, transforms: Any) -> Preprocessing:
        """The preprocessing of a preset of torchvision, `weights.transforms()`, with a square crop for segmentation."""
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
        """A batch (N,C,H,W) of one picture, or of a list or tuple of pictures.

        Args:
            image: Any form that `images.load` takes.

        Raises:
            ImageError: A picture cannot be read, or the pictures have different sizes after preprocessing.
        """
        pictures = image if isinstance(image, list | tuple) else [image]
        if len(pictures) == 0:
            raise ImageError("an empty list holds no image; give at least one.")
        tensors = [self._tensor(images.load(picture)) for picture in pictures]
        if len(shapes := {tuple(tensor.shape[1:]) for tensor in tensors}) > 1:
            raise ImageError(f"the pictures of one batch have different sizes, {sorted(shapes)}; resize them alike.")
        return torch.stack(tensors)

    def in_gray(self) -> Preprocessing:
        """The same preprocessing for a network of one channel, with the average mean and std of the colors."""
        return replace(self, mean=(fmean(self.mean),), std=(fmean(self.std),))

    def normalize(self, x: Tensor) -> Tensor:
        """(..., C, H, W): a picture in [0,1], in the network's units: (x − mean) / std."""
        return (x - _column(self.mean, x)) / _column(self.std, x)

    def denormalize(self, x: Tensor) -> Tensor:
        """(..., C, H, W): the inverse of `normalize`, clipped to [0,1], which turns a batch into pictures."""
        return (x * _column(self.std, x) + _column(self.mean, x)).clamp(0, 1)

    def _tensor(self, picture: Image.Image) -> Tensor:
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
        top, left = (_start(length, crop) for length, crop in zip(reversed(picture.size), self.size, strict=True))
        return picture.crop((left, top, left + self.size[1], top + self.size[0]))


def _start(length: int, crop: int) -> int:
    """The start of a central crop; negative if the crop pads. Rounded as by torchvision, halves to even."""
    return -((crop - length) // 2) if crop > length else round((length - crop) / 2)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    # an integer would round and a wrong shape would broadcast, without an error
    if not like.is_floating_point() or like.ndim < 3 or like.shape[-3] != len(values):
        raise ImageError(f"expected floats (..., {len(values)}, H, W), found {like.dtype} {tuple(like.shape)}.")
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1)


IMAGENET = Preprocessing(size=(224, 224), resize=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""The usual preprocessing of ImageNet classifiers."""


def as_batch(x: Any, preprocessing: Preprocessing | None, channels: int | None = None) -> Tensor:
    """A batch (N,C,H,W) of images in any form.

    Args:
        x: A float tensor (C,H,W) or (N,C,H,W), which counts as preprocessed; or pictures, which this preprocesses: a
            uint8 tensor of these shapes, a path, bytes, a PIL image, an array (four dimensions are a batch), or a list
            or tuple of any of these.
        preprocessing: How the network wants its pictures; None is enough for float tensors.
        channels: The number of channels that the network takes; None for that of `preprocessing`.

    Raises:
        ImageError: A picture cannot be read, has the wrong number of channels, or has another shape than the others.
        NonFiniteError: A tensor holds NaN or Inf; the message names the sample.

    Example:
        >>> as_batch(torch.zeros(3, 8, 8), None).shape
        torch.Size([1, 3, 8, 8])
    """
    batches = _batches(x, preprocessing)
    batch = batches[0] if len(batches) == 1 else torch.cat(batches)  # a single tensor is not copied
    expected = channels if channels is not None or preprocessing is None else len(preprocessing.mean)
    if expected is not None and batch.shape[1] != expected:
        hint = (
            "; its last dimension looks like the channels, so permute it first" if batch.shape[-1] == expected else ""
        )
        raise ImageError(
            f"expected {expected} channels, found {batch.shape[1]} in {tuple(batch.shape)} (N,C,H,W){hint}."
        )
    check_finite(batch)
    return batch


def check_finite(batch: Tensor) -> None:
    """Raise `NonFiniteError` if the batch (N, ...) holds NaN or Inf. The error names the sample."""
    if not all_finite(batch):
        index = first_bad(batch, len(batch))
        raise NonFiniteError(f"the input holds NaN or Inf in sample {index}; replace or drop that sample.")


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
        raise ImageError(f"a tensor {kind} holds no picture that can be read; give a dense tensor with values.")
    batch = x if x.ndim == 4 else x[None]
    if x.dtype == torch.uint8:
        return _preprocessed([images.to_pil(image) for image in batch], preprocessing)
    if not x.is_floating_point():
        raise ImageError(f"a tensor of {x.dtype} is neither preprocessed (floats) nor a picture (uint8); convert it.")
    return batch


def _preprocessed(image: Any, preprocessing: Preprocessing | None) -> Tensor:
    if preprocessing is None:
        raise ImageError(
            "the preprocessing of this network is unknown; give a Preprocessing, or a float tensor (N,C,H,W)."
        )
    return preprocessing(image)

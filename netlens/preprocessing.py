"""Preprocessing: from pictures to the numbers that a network was trained on, and back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from netlens import images
from netlens.errors import ImageError, NetLensError, NetLensWarning, NonFiniteError
from netlens.finite import all_finite, first_bad
from netlens.options import check, option
from netlens.processors import options_of_processor, probes, run_processor

_INTERPOLATIONS = ("nearest", "nearest-exact", "bilinear", "bicubic", "lanczos", "box", "hamming")


@dataclass(frozen=True)
class Preprocessing:
    """Makes batches of pictures as a network wants them: resized, cropped and normalized.

    Calling it with pictures returns a batch (N,C,H,W) in float32, (x − mean) / std of x in [0,1]. It computes the same
    bits as torchvision's `ImageClassification` and timm's `create_transform` do for a PIL image.

    `mean` and `std` have three numbers for color, one for grayscale.

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
    fit: str = option(
        "stretch",
        choices=("stretch", "cover", "contain"),
        help="How a picture fits a height and width: it loses its proportions, covers them, or is within them.",
    )
    longest: int | None = option(None, least=1, help="The most that the longer side may be, if `resize` is one number.")
    fill: tuple[int, ...] = option(
        (0, 0, 0), least=0, most=255, help="The color around a smaller picture, in [0, 255]."
    )
    rounding: str = option(
        "even",
        choices=("even", "down", "zero"),
        help="How the start of a central crop is rounded: halves to even numbers, down, or towards zero.",
    )
    engine: str = option(
        "pillow",
        choices=("pillow", "torch", "torch_float"),
        help="What resizes: Pillow, or torch on whole numbers or on floats. They differ by a few of 255 levels.",
    )
    doubt: str = option("", help="Why this preprocessing may be wrong; a warning says so when it is used.")

    def __post_init__(self) -> None:
        check(self, ImageError)
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise ImageError(f"mean and std have {len(self.mean)} and {len(self.std)} values; give 1 or 3 of each.")

    @classmethod
    def from_transforms(cls, transforms: Any) -> Preprocessing:
        """The preprocessing that does what a preprocessing of another library does.

        A `Compose` and an image processor also preprocess two pictures, which are compared with ours.

        Args:
            transforms: One of these: a preset of torchvision (`weights.transforms()`), with a square crop for
                segmentation; a `Compose` of torchvision or timm; timm's data config or `pretrained_cfg`; an image
                processor of Hugging Face, or a processor that has one.

        Raises:
            ImageError: The object is none of these, or does something that no `Preprocessing` does.

        Example:
            >>> Preprocessing.from_transforms({"input_size": (3, 240, 240), "crop_pct": 1.0}).resize
            240
        """
        name = type(transforms).__name__
        preprocessing = cls(**options_of_processor(transforms))
        for picture in probes():
            try:
                theirs = run_processor(transforms, picture)
            except Exception as error:  # code of any library
                problem = " ".join(str(error).split())
                raise ImageError(f"{name} makes no batch of a picture ({problem}); give NetLens tensors.") from error
            if theirs is not None and not preprocessing._gives(picture, theirs):
                raise ImageError(
                    f"{name} does more than resizing, a central crop and normalizing, so no Preprocessing does the "
                    "same; give NetLens the tensors that it makes."
                )
        return preprocessing

    def _gives(self, picture: Image.Image, expected: Any) -> bool:
        """Whether this preprocessing gives the expected batch, up to rounding."""
        batch = self(picture)
        if not isinstance(expected, Tensor) or batch.shape != expected.shape:
            return False
        return torch.allclose(batch, expected.to(batch), 0, 1e-4)  # theirs may have any dtype

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
        if self.doubt:
            warnings.warn(self.doubt, NetLensWarning, stacklevel=2)
        tensors = [self._tensor(images.load(picture)) for picture in pictures]
        if len(shapes := {tuple(tensor.shape[1:]) for tensor in tensors}) > 1:
            raise ImageError(f"the pictures of one batch have different sizes, {sorted(shapes)}; resize them alike.")
        return torch.stack(tensors)

    def for_channels(self, channels: int | None) -> Preprocessing:
        """The same preprocessing for a network of so many input channels; None if the number is not known.

        A network of one channel gets gray pictures, with the average mean and std of the colors.
        """
        return self if channels != 1 else replace(self, mean=(fmean(self.mean),), std=(fmean(self.std),))

    def crops(self, height: int, width: int) -> bool:
        """Whether a picture of this height and width loses its edges, because only its middle is taken.

        Example:
            >>> plain = Preprocessing(size=(64, 64), resize=64, mean=(0.5,), std=(0.5,))
            >>> plain.crops(300, 300), plain.crops(300, 200)
            (False, True)
        """
        if self.size is None:
            return False
        resized = (height, width) if self.resize is None else self._resized(height, width)
        return any(length > crop for length, crop in zip(resized, self.size, strict=True))

    def normalize(self, x: Tensor) -> Tensor:
        """(..., C, H, W): a picture in [0,1], in the network's units: (x − mean) / std."""
        return (x - _column(self.mean, x)) / _column(self.std, x)

    def denormalize(self, x: Tensor) -> Tensor:
        """(..., C, H, W): the inverse of `normalize`, clipped to [0,1], which turns a batch into pictures."""
        return (x * _column(self.std, x) + _column(self.mean, x)).clamp(0, 1)

    def _tensor(self, picture: Image.Image) -> Tensor:
        if len(self.mean) == 1:
            picture = picture.convert("L")
        if self.engine == "torch_float":
            values = _values(picture)
            if self.resize is not None:
                values = _resized_by_torch(values, self._resized(*values.shape[1:]), self.interpolation)
            return self.normalize(self._cropped(values))
        return self.normalize(_values(self._crop(self._resize(picture))))

    def _resize(self, picture: Image.Image) -> Image.Image:
        if self.resize is None:
            return picture
        height, width = self._resized(picture.height, picture.width)
        if (width, height) == picture.size:
            return picture
        if self.engine == "torch":
            return images.to_pil(_resized_by_torch(_pixels(picture), (height, width), self.interpolation))
        return picture.resize((width, height), Image.Resampling[self.interpolation.split("-")[0].upper()])

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """The height and width of a resized picture."""
        new = self._unchecked_size(height, width)
        if new[0] * new[1] > images.MAX_PIXELS:
            raise ImageError(f"an image of {width} × {height} would be resized to {new[1]} × {new[0]}; crop it first.")
        return new

    def _unchecked_size(self, height: int, width: int) -> tuple[int, int]:
        assert self.resize is not None
        if isinstance(self.resize, int):
            short, long = sorted((height, width))
            side: float = self.resize
            if self.longest is not None and long / short * side > self.longest:
                side = self.longest * short / long
            shorter, longer = round(side), int(side * long / short)
            return (shorter, longer) if height <= width else (longer, shorter)
        if self.fit == "stretch":
            return self.resize
        ratios = height / self.resize[0], width / self.resize[1]
        ratio = max(ratios) if self.fit == "contain" else min(ratios)
        return round(height / ratio), round(width / ratio)

    def _crop(self, picture: Image.Image) -> Image.Image:
        if self.size is None:
            return picture
        height, width = self.size
        top, left = (self._start(length, crop) for length, crop in zip(reversed(picture.size), self.size, strict=True))
        if (len(set(self.fill)) == 1 and self.fill[0] == 0) or (width <= picture.width and height <= picture.height):
            return picture.crop((left, top, left + width, top + height))
        around = Image.new(picture.mode, (width, height), self.fill if picture.mode == "RGB" else self.fill[0])
        around.paste(picture, (-left, -top))
        return around

    def _cropped(self, values: Tensor) -> Tensor:
        """The central crop of floats (C, H, W)."""
        if self.size is None:
            return values
        (top, height), (left, width) = (
            (self._start(length, crop), crop) for length, crop in zip(values.shape[1:], self.size, strict=True)
        )
        around = torch.tensor(self.fill[: len(values)]).div(255).view(-1, 1, 1).repeat(1, height, width)
        part = values[:, max(top, 0) : top + height, max(left, 0) : left + width]
        around[:, max(-top, 0) :, max(-left, 0) :][:, : part.shape[1], : part.shape[2]] = part
        return around

    def _start(self, length: int, crop: int) -> int:
        """The start of a central crop; negative if it pads."""
        if self.rounding == "down":
            return (length - crop) // 2
        if crop > length:
            return -((crop - length) // 2)  # as in torchvision, the padding at the end is the larger one
        return round((length - crop) / 2) if self.rounding == "even" else (length - crop) // 2


def _pixels(picture: Image.Image) -> Tensor:
    """(C, H, W) of uint8."""
    pixels = torch.from_numpy(np.array(picture))
    return pixels.view(picture.height, picture.width, -1).permute(2, 0, 1).contiguous()


def _values(picture: Image.Image) -> Tensor:
    """(C, H, W) of floats in [0, 1]."""
    return _pixels(picture).float() / 255


def _resized_by_torch(pixels: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    from torchvision.transforms.v2 import InterpolationMode, functional

    resized: Tensor = functional.resize(pixels, list(size), InterpolationMode(interpolation), antialias=True)
    return resized


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    # without this check, `values` would lose their fractions for integers, and a wrong shape would broadcast
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
            or tuple of any of these. What an image processor of Hugging Face returns counts as preprocessed, too.
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


def check_finite(batch: Tensor, what: str = "the input") -> None:
    """Raise `NonFiniteError` if the batch (N, ...) holds NaN or Inf. The error names the sample."""
    if not all_finite(batch):
        index = first_bad(batch, len(batch))
        raise NonFiniteError(f"{what} holds NaN or Inf in sample {index}; replace or drop that sample.")


def _batches(x: Any, preprocessing: Preprocessing | None) -> list[Tensor]:
    if isinstance(x, Mapping) and "pixel_values" in x:  # what an image processor of Hugging Face returns
        values = x["pixel_values"]
        x = values if isinstance(values, Tensor) else torch.from_numpy(np.stack(values))
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

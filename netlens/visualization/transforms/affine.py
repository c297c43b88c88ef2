"""Scale, rotation, shear and jitter: matrices, which compose, so that pictures are resampled only once."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NetLensError
from netlens.images import MAX_PIXELS
from netlens.options import check, option
from netlens.visualization.transforms.base import Generators, Size, Transform, check_batch, check_range, one_of, uniform

Outside = float | Literal["reflect", "edge"]
"""What lies outside a picture, without end: a gray value, its mirror image, or the pixels of its edge."""

GRAY = 0.5
_PADDING = {"reflect": "reflection", "edge": "border"}


@dataclass(frozen=True)
class View:
    """What each sample of a batch sees of its picture: where, in the picture, each pixel of a window lies.

    matrices: (N, 3, 3) in float64 on the CPU, from (x, y, 1) in the window to (x, y, 1) in the picture, both in pixels
    from the middle. size: the window's (height, width). outside: what lies around the picture.
    """

    matrices: Tensor
    size: Size
    outside: Outside = GRAY

    @classmethod
    def whole(cls, n: int, size: Size) -> View:
        """The view that shows n pictures as they are."""
        return cls(torch.eye(3, dtype=torch.float64).repeat(n, 1, 1), size)

    def moved(self, matrices: Tensor) -> View:
        """The view of a window of the same size into this one."""
        return replace(self, matrices=self.matrices @ matrices)

    def of(self, images: Tensor) -> Tensor:
        """(N, C, *size): the pictures (N, C, H, W), seen like this."""
        shifts = self._whole_pixels(images)
        if shifts is None:
            return self._resampled(images)
        height, width = images.shape[-2:]
        if self.size == (height, width) and not any(y or x for y, x in shifts):
            return images
        return self._shifted(images, shifts)

    def _whole_pixels(self, images: Tensor) -> list[tuple[int, int]] | None:
        """How far (down, right) each window's top left corner is from its picture's, if no pixel is between pixels."""
        if not torch.equal(self.matrices[:, :2, :2], torch.eye(2, dtype=torch.float64).expand(len(images), 2, 2)):
            return None
        (height, width), (rows, columns) = images.shape[-2:], self.size
        corner = torch.tensor([(width - columns) / 2, (height - rows) / 2], dtype=torch.float64)
        shifts = self.matrices[:, :2, 2] + corner
        if not torch.equal(shifts, shifts.round()):
            return None
        return [(int(y), int(x)) for x, y in shifts.tolist()]

    def _shifted(self, images: Tensor, shifts: Sequence[tuple[int, int]]) -> Tensor:
        (height, width), (rows, columns) = images.shape[-2:], self.size
        down, right = zip(*shifts, strict=True)
        pads = (-min(right), max(right) + columns - width, -min(down), max(down) + rows - height)
        left, after, above, below = (max(0, pad) for pad in pads)
        around = _padded(images, (left, after, above, below), self.outside)
        windows = [
            around[i : i + 1, :, y + above : y + above + rows, x + left : x + left + columns]
            for i, (y, x) in enumerate(shifts)
        ]
        return windows[0] if len(windows) == 1 else torch.cat(windows)

    def _resampled(self, images: Tensor) -> Tensor:
        (height, width), (rows, columns) = images.shape[-2:], self.size
        to_pixels = torch.tensor([columns / 2, rows / 2, 1], dtype=torch.float64)
        from_pixels = torch.tensor([2 / width, 2 / height, 1], dtype=torch.float64)
        theta = (from_pixels[:, None] * self.matrices * to_pixels)[:, :2].to(images)
        grid = _grid(theta, rows, columns)
        if isinstance(self.outside, str):
            return F.grid_sample(images, grid, "bilinear", _PADDING[self.outside], align_corners=False)
        return self.outside + F.grid_sample(images - self.outside, grid, "bilinear", "zeros", align_corners=False)


def _grid(theta: Tensor, rows: int, columns: int) -> Tensor:
    """(N, rows, columns, 2): what `F.affine_grid` gives, in sums of a row and a column instead of a product each."""
    across = (torch.arange(columns, device=theta.device, dtype=theta.dtype) * 2 + (1 - columns)) / columns
    down = (torch.arange(rows, device=theta.device, dtype=theta.dtype) * 2 + (1 - rows)) / rows
    by_column = theta[:, None, :, 0] * across[:, None]
    by_row = theta[:, None, :, 1] * down[:, None] + theta[:, None, :, 2]
    return by_row[:, :, None] + by_column[:, None]


def _padded(images: Tensor, pads: tuple[int, int, int, int], outside: Outside) -> Tensor:
    """With (left, right, above, below) pixels around; mirrored at the edge itself, as resampling does."""
    if not any(pads):
        return images
    if not isinstance(outside, str):
        return F.pad(images, pads, value=outside)
    left, right, above, below = pads
    rows = _positions(images.shape[-2], above, below, outside, images.device)
    columns = _positions(images.shape[-1], left, right, outside, images.device)
    return images.index_select(2, rows).index_select(3, columns)


def _positions(length: int, before: int, after: int, outside: str, device: torch.device) -> Tensor:
    at = torch.arange(-before, length + after, device=device)
    if outside == "edge":
        return at.clamp(0, length - 1)
    at = at % (2 * length)
    return torch.minimum(at, 2 * length - 1 - at)


class Geometric(Transform):
    """Abstract: a transform that moves the view and keeps the values; several in a row resample once."""

    @abstractmethod
    def seen(self, view: View, generators: Generators) -> View:
        """The view of the original pictures through this transform and the given view."""

    def __call__(self, images: Tensor, generators: Generators) -> Tensor:
        check_batch(images, generators)
        height, width = images.shape[-2:]
        return self.seen(View.whole(len(images), (height, width)), generators).of(images)


@dataclass(frozen=True)
class Jitter(Geometric):
    """Shift by whole pixels, up to half of `pixels` each way; below 1, these are a share of the shorter side."""

    pixels: float = option(
        least=0, most=MAX_PIXELS, help="How far, in pixels; below 1, as a share of the shorter side."
    )

    def __post_init__(self) -> None:
        check(self)
        if self.pixels >= 1 and self.pixels != int(self.pixels):
            raise NetLensError(
                f"a picture cannot be shifted by {self.pixels} pixels; give a whole number, or a share below 1."
            )

    def seen(self, view: View, generators: Generators) -> View:
        pixels = round(self.pixels * min(view.size)) if 0 < self.pixels < 1 else int(self.pixels)
        matrices = View.whole(len(generators), view.size).matrices
        for axis in (0, 1):
            shifts = one_of(generators, pixels + 1)
            matrices[:, axis, 2] = torch.tensor(shifts, dtype=torch.float64) - pixels // 2
        return view.moved(matrices)


@dataclass(frozen=True)
class Scale(Geometric):
    """Magnify by a factor between `low` and `high`, evenly drawn."""

    low: float = option(0.9, above=0, help="The smallest factor.")
    high: float = option(1.1, above=0, help="The largest factor.")

    def __post_init__(self) -> None:
        check(self)
        check_range(self, self.low, self.high)

    def seen(self, view: View, generators: Generators) -> View:
        factor = uniform(generators, self.low, self.high)
        return view.moved(torch.diag_embed(torch.stack([1 / factor, 1 / factor, torch.ones_like(factor)], 1)))


@dataclass(frozen=True)
class Rotate(Geometric):
    """Turn by up to `degrees` either way, or not at all with probability `upright`."""

    degrees: float = option(10, help="The largest angle, in degrees.")
    upright: float = option(0, least=0, most=1, help="The probability of no turn.")

    def __post_init__(self) -> None:
        check(self)

    def seen(self, view: View, generators: Generators) -> View:
        angle = uniform(generators, -self.degrees, self.degrees) * (math.pi / 180)
        if self.upright:
            angle = torch.where(uniform(generators, 0, 1) < self.upright, 0, angle)
        matrices = View.whole(len(generators), view.size).matrices
        matrices[:, 0, 0] = matrices[:, 1, 1] = angle.cos()
        matrices[:, 0, 1] = -angle.sin()
        matrices[:, 1, 0] = angle.sin()
        return view.moved(matrices)


@dataclass(frozen=True)
class Shear(Geometric):
    """Slant, horizontally and vertically, by up to `degrees` either way."""

    degrees: float = option(5, least=0, below=45, help="The largest angle, in degrees.")

    def __post_init__(self) -> None:
        check(self)

    def seen(self, view: View, generators: Generators) -> View:
        matrices = View.whole(len(generators), view.size).matrices
        for row, column in ((0, 1), (1, 0)):
            matrices[:, row, column] = (uniform(generators, -self.degrees, self.degrees) * (math.pi / 180)).tan()
        return view.moved(matrices)

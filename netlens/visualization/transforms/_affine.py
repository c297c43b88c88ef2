"""Scale, rotation, shear and jitter, as matrices. Their product is one matrix, so pictures are resampled only once."""

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
from netlens.visualization.transforms._base import (
    Generators,
    Size,
    Transform,
    check_batch,
    check_range,
    one_of,
    uniform,
)

Outside = float | Literal["reflect", "edge"]
"""The values outside of a picture: a gray value, the mirror image of the picture, or the pixels of its edge."""

GRAY = 0.5
_PADDING = {"reflect": "reflection", "edge": "border"}


@dataclass(frozen=True)
class View:
    """For each picture of a batch, a window into it: the position in the picture of each pixel of the window.

    Args:
        matrices: (N, 3, 3) in float64 on the CPU, from (x, y, 1) in the window to (x, y, 1) in the picture, both in
            pixels from the middle.
        size: The (height, width) of the window.
        outside: The values outside of the picture.
    """

    matrices: Tensor
    size: Size
    outside: Outside = GRAY

    @classmethod
    def whole(cls, n: int, size: Size) -> View:
        """The view that shows n pictures unchanged."""
        return cls(torch.eye(3, dtype=torch.float64).repeat(n, 1, 1), size)

    def moved(self, matrices: Tensor) -> View:
        """This view, followed by matrices from a new window, of the same size, to the window of this view."""
        return replace(self, matrices=self.matrices @ matrices)

    def of(self, images: Tensor) -> Tensor:
        """(N, C, *size): the windows into the pictures (N, C, H, W)."""
        shifts = self._pixel_shifts(images)
        if shifts is None:
            return self._resampled(images)
        height, width = images.shape[-2:]
        if self.size == (height, width) and not any(y or x for y, x in shifts):
            return images
        return self._shifted(images, shifts)

    def _pixel_shifts(self, images: Tensor) -> list[tuple[int, int]] | None:
        """The shift (down, right) of each window in whole pixels. None if a view is not a shift by whole pixels."""
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
        left_pad, right_pad, top_pad, bottom_pad = (max(0, pad) for pad in pads)
        padded = _padded(images, (left_pad, right_pad, top_pad, bottom_pad), self.outside)
        windows = [
            padded[i : i + 1, :, y + top_pad : y + top_pad + rows, x + left_pad : x + left_pad + columns]
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
    """(N, rows, columns, 2): the result of `F.affine_grid`, computed faster, as a sum of a row and a column."""
    across = (torch.arange(columns, device=theta.device, dtype=theta.dtype) * 2 + (1 - columns)) / columns
    down = (torch.arange(rows, device=theta.device, dtype=theta.dtype) * 2 + (1 - rows)) / rows
    by_column = theta[:, None, :, 0] * across[:, None]
    by_row = theta[:, None, :, 1] * down[:, None] + theta[:, None, :, 2]
    return by_row[:, :, None] + by_column[:, None]


def _padded(images: Tensor, pads: tuple[int, int, int, int], outside: Outside) -> Tensor:
    """Images with (left, right, above, below) more pixels. A mirror lies at the edge of the image, as in resampling."""
    if not any(pads):
        return images
    if not isinstance(outside, str):
        return F.pad(images, pads, value=outside)
    left, right, above, below = pads
    rows = _positions(images.shape[-2], above, below, outside, images.device)
    columns = _positions(images.shape[-1], left, right, outside, images.device)
    return images.index_select(2, rows).index_select(3, columns)


def _positions(length: int, before: int, after: int, outside: str, device: torch.device) -> Tensor:
    positions = torch.arange(-before, length + after, device=device)
    if outside == "edge":
        return positions.clamp(0, length - 1)
    positions = positions % (2 * length)
    return torch.minimum(positions, 2 * length - 1 - positions)


class Geometric(Transform):
    """Abstract: a transform that moves pixels and does not change values. Several in a row resample pictures once."""

    @abstractmethod
    def view_through(self, view: View, generators: Generators) -> View:
        """The view of the original pictures after `view` and this transform."""

    def __call__(self, images: Tensor, generators: Generators) -> Tensor:
        check_batch(images, generators)
        height, width = images.shape[-2:]
        return self.view_through(View.whole(len(images), (height, width)), generators).of(images)


@dataclass(frozen=True)
class Jitter(Geometric):
    """Shift pictures by whole pixels, by up to half of `pixels` in each direction."""

    pixels: float = option(
        least=0, most=MAX_PIXELS, help="Range of the shift, in pixels; below 1, as a share of the shorter side."
    )

    def __post_init__(self) -> None:
        check(self)
        if self.pixels >= 1 and self.pixels != int(self.pixels):
            raise NetLensError(
                f"a picture cannot be shifted by {self.pixels} pixels; give a whole number, or a share below 1."
            )

    def view_through(self, view: View, generators: Generators) -> View:
        pixels = round(self.pixels * min(view.size)) if 0 < self.pixels < 1 else int(self.pixels)
        matrices = View.whole(len(generators), view.size).matrices
        for axis in (0, 1):
            shifts = one_of(generators, pixels + 1)
            matrices[:, axis, 2] = torch.tensor(shifts, dtype=torch.float64) - pixels // 2
        return view.moved(matrices)


@dataclass(frozen=True)
class Scale(Geometric):
    """Magnify pictures by a random factor between `low` and `high`."""

    low: float = option(0.9, above=0, help="The smallest factor.")
    high: float = option(1.1, above=0, help="The largest factor.")

    def __post_init__(self) -> None:
        check(self)
        check_range(self, self.low, self.high)

    def view_through(self, view: View, generators: Generators) -> View:
        factor = uniform(generators, self.low, self.high)
        return view.moved(torch.diag_embed(torch.stack([1 / factor, 1 / factor, torch.ones_like(factor)], 1)))


@dataclass(frozen=True)
class Rotate(Geometric):
    """Rotate pictures by up to `degrees` in each direction, or not at all with the probability `upright`."""

    degrees: float = option(10, help="The largest angle, in degrees.")
    upright: float = option(0, least=0, most=1, help="The probability of no rotation.")

    def __post_init__(self) -> None:
        check(self)

    def view_through(self, view: View, generators: Generators) -> View:
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
    """Shear pictures horizontally and vertically, by up to `degrees` in each direction."""

    degrees: float = option(5, least=0, below=45, help="The largest angle, in degrees.")

    def __post_init__(self) -> None:
        check(self)

    def view_through(self, view: View, generators: Generators) -> View:
        matrices = View.whole(len(generators), view.size).matrices
        for row, column in ((0, 1), (1, 0)):
            matrices[:, row, column] = (uniform(generators, -self.degrees, self.degrees) * (math.pi / 180)).tan()
        return view.moved(matrices)

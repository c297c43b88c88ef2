"""Where the elements of a value lie in the input: as maps in raster order, or each element by its coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from math import prod

import torch
from torch import Tensor


class Unplaced(Enum):
    """A value of which no position is known."""

    NOWHERE = auto()
    """The value has no positions: a parameter, a size, a sum over the whole input."""
    UNKNOWN = auto()
    """The value comes from an operation that nobody knows."""


@dataclass(frozen=True)
class Raster:
    """Maps (N, C, *sizes) whose positions lie in the order of the input."""

    sizes: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The center of the part of the input from which each element comes, along each axis of the input.

    A coordinate lies between 0 and 1. 0 itself means that the element comes from no part: class tokens, padding.

    Args:
        axes: One tensor for each axis. It has size 1 along dimensions along which no coordinate changes.
        shape: The shape of the value of one sample.
    """

    axes: tuple[Tensor, ...]
    shape: tuple[int, ...]

    def whole(self) -> tuple[Tensor, ...]:
        """The coordinates in the shape of the value, as views that take no memory."""
        return tuple(axis.expand(self.shape) for axis in self.axes)


Places = Raster | Coordinates | Unplaced


def coordinates_of(places: Raster | Coordinates, shape: Sequence[int]) -> Coordinates:
    """Places of any kind as coordinates, for a value of this shape."""
    if isinstance(places, Coordinates):
        return places
    axes = tuple(centers(size, dim, len(shape)) for dim, size in enumerate(places.sizes, start=2))
    return Coordinates(axes, tuple(shape))


def centers(size: int, dim: int, ndim: int) -> Tensor:
    """The centers of so many equal parts of the input along dimension `dim` of `ndim` dimensions."""
    parts = (torch.arange(size, device="cpu", dtype=torch.float32) + 0.5) / size
    return parts.view([-1 if each == dim else 1 for each in range(ndim)])


def placed(axes: Sequence[Tensor], shape: Sequence[int]) -> Places:
    """The places with these coordinates, which broadcast to the shape. One position alone is no place."""
    thin = _thin(axes)
    spread = [axis for axis in thin if axis.numel() > 1]
    if not any(bool((axis[axis > 0] != axis[axis > 0][:1]).any()) for axis in spread):
        return Unplaced.NOWHERE
    places = Coordinates(tuple(thin), tuple(shape))
    raster = _raster(places)
    return places if raster is None else raster


def mean_over(axes: Sequence[Tensor], dims: Sequence[int]) -> tuple[Tensor, ...]:
    """The mean coordinate along these dimensions, which stay with size 1. Elements without a place do not count."""
    result = []
    dims = tuple(dims)
    for axis in axes:
        wide = [dim for dim in dims if axis.stride(dim) != 0 and axis.shape[dim] > 1]
        for dim in set(dims) - set(wide):
            axis = axis.narrow(dim, 0, 1)
        if wide:
            count = (axis > 0).sum(wide, keepdim=True)
            axis = axis.sum(wide, keepdim=True) / count.clamp(min=1)
        result.append(axis)
    return tuple(result)


def distinct(axes: Sequence[Tensor]) -> int:
    """How many different places these coordinates name."""
    keys = torch.zeros((), device="cpu")
    for axis in _thin(axes):
        keys = keys * 1009 + (axis * 1e5).round()
    return int(torch.unique(keys[keys > 0]).numel()) if keys.ndim else 1


def _thin(axes: Sequence[Tensor]) -> list[Tensor]:
    """The coordinates without repetition along dimensions along which they do not change."""
    thin = []
    for axis in axes:
        for dim in range(axis.ndim):
            if axis.shape[dim] > 1:
                first = axis.narrow(dim, 0, 1)
                if axis.stride(dim) == 0 or torch.equal(first.expand_as(axis), axis):
                    axis = first
        thin.append(axis.clone() if axis.numel() < axis.untyped_storage().nbytes() // axis.element_size() else axis)
    return thin


def _raster(places: Coordinates) -> Raster | None:
    """The raster that these coordinates are; None if they are none."""
    rank = len(places.axes)
    if len(places.shape) != rank + 2 or places.shape[0] != 1 or prod(places.shape[2:]) < 2:
        return None
    for expected, axis in zip(coordinates_of(Raster(places.shape[2:]), places.shape).axes, places.axes, strict=True):
        if axis.shape != expected.shape or not torch.allclose(axis.to(expected), expected, rtol=0, atol=1e-4):
            return None
    return Raster(places.shape[2:])

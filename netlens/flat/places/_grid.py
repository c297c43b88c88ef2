"""How the values of one layer lie over the input: which dimensions are positions, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from netlens.flat.places._places import Coordinates, Places, Raster, mean_over

_STEPS = 20_000  # coordinates that differ by less than this part of the input are the same
_COVERED = 2 / 3  # the part of the input that a grid covers at least, along each axis


@dataclass(frozen=True, eq=False)
class Grid:
    """The layout of a value over the input.

    Args:
        shape: The shape of the value of one sample.
        dims: The dimensions that hold positions.
        sizes: The sizes of the grid, one for each axis of the input.
        order: The position of each cell of the grid among those of `dims`, row by row; None for all in their order.
    """

    shape: tuple[int, ...]
    dims: tuple[int, ...]
    sizes: tuple[int, ...]
    order: Tensor | None

    @classmethod
    def of(cls, places: Places, shape: Sequence[int]) -> Grid | None:
        """The grid on which a value of this shape lies. None if its places form no grid of at least two cells."""
        if isinstance(places, Raster):
            dims = tuple(range(2, len(shape)))
            return cls(tuple(shape), dims, places.sizes, None) if prod(places.sizes) > 1 else None
        if not isinstance(places, Coordinates):
            return None
        grid = _of_coordinates(places)
        # Swin's merging puts several neighbors into the channels of one position, whose place is then their center
        for dim in (len(shape) - 1, 1):
            if grid is None and len(shape) > 2:
                grid = _of_coordinates(Coordinates(mean_over(places.whole(), [dim]), places.shape))
        return grid

    @classmethod
    def of_maps(cls, shape: Sequence[int]) -> Grid:
        """The grid of maps (N, C, *sizes)."""
        return cls((1, *shape[1:]), tuple(range(2, len(shape))), tuple(shape[2:]), None)

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether an activation of this shape has this layout, for some number of samples."""
        return self._samples(tuple(shape)) is not None

    def resized(self, shape: Sequence[int]) -> Grid | None:
        """The same layout for an input of another size, in which the value has this shape. None if none follows.

        Sequences keep the proportions of the grid, and their tokens without a position.
        """
        if len(shape) != len(self.shape) or self.shape[0] != 1 or 0 in self.dims:
            return None
        other_dims = [dim for dim in range(1, len(shape)) if dim not in self.dims]
        if any(shape[dim] != self.shape[dim] for dim in other_dims):
            return None
        one = (1, *shape[1:])
        if len(self.dims) == len(self.sizes) and self.order is None:
            return Grid(one, self.dims, tuple(shape[dim] for dim in self.dims), None)
        tokens = self.shape[self.dims[0]]
        others = tokens - prod(self.sizes)
        in_rows = self.order is None or torch.equal(self.order, torch.arange(others, tokens, device="cpu"))
        if len(self.dims) > 1 or not in_rows:
            return None
        tokens = shape[self.dims[0]]
        ratio = ((tokens - others) / prod(self.sizes)) ** (1 / len(self.sizes)) if tokens > others else 0
        sizes = tuple(round(size * ratio) for size in self.sizes)
        if prod(sizes) != tokens - others or prod(sizes) < 2:
            return None
        return Grid(one, self.dims, sizes, torch.arange(others, tokens, device="cpu") if others else None)

    def maps(self, activation: Tensor) -> Tensor:
        """The activation of n samples as maps (n, C, *sizes)."""
        dim = self._samples(tuple(activation.shape))
        assert dim is not None, f"{tuple(activation.shape)} does not have the layout of {self.shape}"
        if self.order is None and self.dims == tuple(range(2, activation.ndim)) and self.shape[0] == 1 and dim == 0:
            return activation if self.sizes == self.shape[2:] else activation.flatten(2).unflatten(2, self.sizes)
        if dim >= 0:
            n = activation.shape[dim] // self.shape[dim]
            activation = activation.unflatten(dim, (n, self.shape[dim])).movedim(dim, 0)
        # now (n, *shape): channels first, then positions
        others = [each + 1 for each in range(len(self.shape)) if each not in self.dims]
        by_position = activation.permute(0, *others, *(each + 1 for each in self.dims))
        cells = (
            by_position.flatten(1 + len(others)).flatten(1, len(others)) if others else by_position.flatten(1)[:, None]
        )
        if self.order is not None:
            start = self._start
            count = len(self.order)
            cells = cells[..., self.order.to(cells.device)] if start is None else cells.narrow(2, start, count)
        maps: Tensor = cells.unflatten(2, self.sizes)
        return maps

    @cached_property
    def _start(self) -> int | None:
        """The first of the positions if they follow each other in order, so that a view holds them."""
        assert self.order is not None
        first = int(self.order[0])
        follows = torch.equal(self.order, torch.arange(first, first + len(self.order), device="cpu"))
        return first if follows else None

    def _samples(self, shape: tuple[int, ...]) -> int | None:
        """The dimension that holds the samples; -1 if they have a dimension before the others; None if nothing fits."""
        if shape[1:] == self.shape and len(shape) == len(self.shape) + 1:
            return -1
        if len(shape) != len(self.shape):
            return None
        other = [dim for dim in range(len(shape)) if shape[dim] != self.shape[dim]]
        if not other:
            return next((dim for dim in range(len(shape)) if shape[dim] == 1), 0)
        dim = other[0]
        return dim if len(other) == 1 and shape[dim] % self.shape[dim] == 0 else None


def _of_coordinates(places: Coordinates) -> Grid | None:
    dims = tuple(dim for dim in range(len(places.shape)) if any(axis.shape[dim] > 1 for axis in places.axes))
    shape = [places.shape[dim] if dim in dims else 1 for dim in range(len(places.shape))]
    flat = [axis.expand(shape).flatten() for axis in places.axes]
    where = torch.stack([axis > 0 for axis in flat]).all(0).nonzero().flatten()
    cell, sizes = torch.zeros_like(where), []
    for axis in flat:
        names, index = torch.unique((axis[where] * _STEPS).round(), return_inverse=True)
        cell = cell * len(names) + index
        sizes.append(len(names))
        # a crop, or means of elements that lie far apart: whoever draws the grid over the input would be wrong
        if len(names) and names[-1] - names[0] < _COVERED * _STEPS * (len(names) - 1) / len(names):
            return None
    if prod(sizes) < 2 or len(where) != prod(sizes) or len(torch.unique(cell)) != len(cell):
        return None
    order = where[cell.argsort()]
    in_order = len(order) == prod(shape) and torch.equal(order, torch.arange(len(order), device="cpu"))
    return Grid(places.shape, dims, tuple(sizes), None if in_order else order)

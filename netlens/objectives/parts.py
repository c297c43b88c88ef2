"""Parts of an objective: what each tile of a picture adds, so that a large picture need not be in memory at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netlens.precision import widest


@dataclass(frozen=True)
class Place:
    """The positions of a layer's map that a tile of the picture stands for.

    Args:
        rows, columns: (start, end) of these positions in the map of the tile. Around them lies the margin of the tile.
        corner: (row, column) of the first of these positions in the map of the whole picture.
        shape: (height, width) of the map of the whole picture.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    corner: tuple[int, int]
    shape: tuple[int, int]

    def of(self, maps: Tensor) -> Tensor:
        """(..., h, w): the positions of maps of the tile."""
        return maps[..., self.rows[0] : self.rows[1], self.columns[0] : self.columns[1]]

    def of_whole(self, maps: Tensor) -> Tensor:
        """(..., h, w): the same positions of maps of the whole picture."""
        (top, left), (height, width) = self.corner, self.extent
        return maps[..., top : top + height, left : left + width]

    @property
    def extent(self) -> tuple[int, int]:
        """The height and width of these positions."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    @property
    def whole(self) -> int:
        """The number of positions of the whole picture."""
        return self.shape[0] * self.shape[1]

    def indices(self, device: torch.device) -> Tensor:
        """(h * w,): where these positions lie in the flattened map of the whole picture."""
        (top, left), (height, width) = self.corner, self.extent
        down = torch.arange(top, top + height, device=device)
        across = torch.arange(left, left + width, device=device)
        return (down[:, None] * self.shape[1] + across).flatten()


Sweep = Callable[[Callable[[Any, Mapping[str, "Place"]], "Sequence[Part]"]], list[Tensor]]
"""Runs over the tiles of a picture. It calls a function with the record and the places of each tile, and returns the
totals of the parts that the function gives."""


@dataclass(frozen=True)
class Part:
    """What a tile adds: numbers that are summed over all tiles, or values that have places of their own.

    Args:
        values: (N, ...), the numbers of the tile; with places, (N, ..., p).
        at: (p,), the places of the values along the last dimension; None for numbers that are summed.
        length: The number of places of all tiles together.
    """

    values: Tensor
    at: Tensor | None = None
    length: int = 0

    def added(self, total: Tensor | None) -> Tensor:
        """The total with this part."""
        values = self.values.detach()
        if self.at is None:
            # sums of many tiles are kept in the widest type, so that the result does not depend on the tiles
            wide = values.to(widest(values.device))
            return wide if total is None else total.add_(wide)
        if total is None:
            total = values.new_zeros(*values.shape[:-1], self.length)
        total[..., self.at] = values
        return total

    def slope(self, gradient: Tensor) -> Tensor:
        """(): a number with the gradient that the objective has at this part, from its `gradient` at the total."""
        at_part = gradient if self.at is None else gradient[..., self.at]
        return (self.values * at_part.to(self.values)).sum()

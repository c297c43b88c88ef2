"""Patches: rectangles of activations that differ from the unchanged sample. Each row has one, and all have one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Patch:
    """The output of a layer in one rectangle of each row. Outside the rectangle, nothing has changed.

    A rectangle may be larger than the change, so that all rows have one size.

    Args:
        value: The activations (rows, C, h, w).
        top: The first line of each row's rectangle.
        left: The first column of each row's rectangle.
    """

    value: Tensor
    top: tuple[int, ...]
    left: tuple[int, ...]

    @property
    def size(self) -> tuple[int, int]:
        return self.value.shape[2], self.value.shape[3]

    @property
    def place(self) -> Place:
        return Place(self.top, self.left, self.size)

    def into(self, block: Tensor, place: Place) -> Tensor:
        """Write the patch into a block (rows, C, H, W) that lies at `place`, where they overlap. Return the block."""
        for (down, right), rows in _groups(self, place).items():
            y, x = _overlap(down, self.size[0], place.size[0]), _overlap(right, self.size[1], place.size[1])
            if y.stop <= y.start or x.stop <= x.start:
                continue
            from_y, from_x = slice(y.start - down, y.stop - down), slice(x.start - right, x.stop - right)
            if len(rows) == len(block):
                block[:, :, y, x] = self.value[:, :, from_y, from_x]
            else:
                block[rows, :, y, x] = self.value[rows, :, from_y, from_x]
        return block


@dataclass(frozen=True)
class Place:
    """The place of rectangles of one size, one per row. Their corners may lie outside the map, in its padding."""

    top: tuple[int, ...]
    left: tuple[int, ...]
    size: tuple[int, int]

    def moved(self, down: int, right: int) -> Place:
        return Place(tuple(t + down for t in self.top), tuple(x + right for x in self.left), self.size)


def cut(base: Tensor, place: Place) -> Tensor:
    """Cut the rectangles (rows, C, h, w) at `place` from the maps (1, C, H, W) of one sample, with channels last.

    Maps of width or height 1 are stretched along that dimension.
    """
    ys, xs = (
        (torch.tensor(starts, device=base.device)[:, None] + torch.arange(extent, device=base.device)).clamp(
            max=most - 1
        )
        for starts, extent, most in zip((place.top, place.left), place.size, base.shape[2:], strict=True)
    )
    return base[0].permute(1, 2, 0)[ys[:, :, None], xs[:, None, :]].permute(0, 3, 1, 2)


def hull(patches: Sequence[Patch], limit: tuple[int, int]) -> Place:
    """The smallest place, of one size for all rows, that covers all patches of each row, in maps of size `limit`."""
    top, high = _covered([(patch.top, patch.size[0]) for patch in patches], limit[0])
    left, wide = _covered([(patch.left, patch.size[1]) for patch in patches], limit[1])
    return Place(top, left, (high, wide))


def _covered(spans: Sequence[tuple[Sequence[int], int]], limit: int) -> tuple[tuple[int, ...], int]:
    """The start of the span that covers all spans of a row along one axis, for each row, and its extent in all rows.

    Each span is (starts of the rows, extent).
    """
    starts = [min(row) for row in zip(*(starts for starts, _ in spans), strict=True)]
    ends = [max(row) for row in zip(*([start + extent for start in starts] for starts, extent in spans), strict=True)]
    extent = max(end - start for start, end in zip(starts, ends, strict=True))
    return tuple(min(start, limit - extent) for start in starts), extent


def _groups(patch: Patch, place: Place) -> dict[tuple[int, int], list[int]]:
    """The rows by offset (down, right) of the patch from the block; usually it is the same for all rows."""
    groups: dict[tuple[int, int], list[int]] = {}
    for row, corner in enumerate(zip(patch.top, place.top, patch.left, place.left, strict=True)):
        groups.setdefault((corner[0] - corner[1], corner[2] - corner[3]), []).append(row)
    return groups


def _overlap(start: int, extent: int, limit: int) -> slice:
    return slice(max(start, 0), min(start + extent, limit))

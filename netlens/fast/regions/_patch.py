"""Patches: rectangles of activations that may differ from those of the sample. All rows have the same size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Patch:
    """A layer's output for variants of a sample (the rows), in one rectangle each. Elsewhere, it is as for the sample.

    A rectangle may be larger than the change, so that the rectangles of all rows have the same size.

    Args:
        value: The activations (rows, C, h, w).
        top: The y coordinate of the upper edge, for each row.
        left: The x coordinate of the left edge, for each row.
    """

    value: Tensor
    top: tuple[int, ...]
    left: tuple[int, ...]

    @property
    def size(self) -> tuple[int, int]:
        return self.value.shape[2], self.value.shape[3]

    @property
    def rectangles(self) -> Rectangles:
        return Rectangles(self.top, self.left, self.size)

    def into(self, block: Tensor, rectangles: Rectangles) -> Tensor:
        """Write the patch into a block of maps where both overlap, and return the block.

        The block (rows, C, H, W) holds the maps within `rectangles`.
        """
        for (down, right), rows in _groups(self, rectangles).items():
            y, x = _overlap(down, self.size[0], rectangles.size[0]), _overlap(right, self.size[1], rectangles.size[1])
            if y.stop <= y.start or x.stop <= x.start:
                continue
            from_y, from_x = slice(y.start - down, y.stop - down), slice(x.start - right, x.stop - right)
            if len(rows) == len(block):
                block[:, :, y, x] = self.value[:, :, from_y, from_x]
            else:
                block[rows, :, y, x] = self.value[rows, :, from_y, from_x]
        return block


@dataclass(frozen=True)
class Rectangles:
    """The corners of rectangles of one size, one per row. A corner may lie outside of the map, in its padding."""

    top: tuple[int, ...]
    left: tuple[int, ...]
    size: tuple[int, int]

    def moved(self, down: int, right: int) -> Rectangles:
        return Rectangles(tuple(t + down for t in self.top), tuple(x + right for x in self.left), self.size)


def cut(base: Tensor, rectangles: Rectangles) -> Tensor:
    """Cut rectangles from the maps (1, C, H, W) of one sample. The result (rows, C, h, w) has channels last in memory.

    If the maps have height or width 1, they are repeated along this dimension.
    """
    ys, xs = (
        (torch.tensor(starts, device=base.device)[:, None] + torch.arange(extent, device=base.device)).clamp(
            max=most - 1
        )
        for starts, extent, most in zip((rectangles.top, rectangles.left), rectangles.size, base.shape[2:], strict=True)
    )
    return base[0].permute(1, 2, 0)[ys[:, :, None], xs[:, None, :]].permute(0, 3, 1, 2)


def hull(patches: Sequence[Patch], limit: tuple[int, int]) -> Rectangles:
    """For each row, a rectangle that covers all patches of this row.

    All rectangles have the same size, the smallest that is enough for every row. They lie within maps of size `limit`.
    """
    top, high = _covered([(patch.top, patch.size[0]) for patch in patches], limit[0])
    left, wide = _covered([(patch.left, patch.size[1]) for patch in patches], limit[1])
    return Rectangles(top, left, (high, wide))


def _covered(spans: Sequence[tuple[Sequence[int], int]], limit: int) -> tuple[tuple[int, ...], int]:
    """Along one axis: for each row, the start of a span that covers all spans of the row; and one extent for all.

    A span is given by (the start for each row, the extent).
    """
    starts = [min(row) for row in zip(*(starts for starts, _ in spans), strict=True)]
    ends = [max(row) for row in zip(*([start + extent for start in starts] for starts, extent in spans), strict=True)]
    extent = max(end - start for start, end in zip(starts, ends, strict=True))
    return tuple(min(start, limit - extent) for start in starts), extent


def _groups(patch: Patch, rectangles: Rectangles) -> dict[tuple[int, int], list[int]]:
    """The rows, grouped by the offset (down, right) between patch and block. Often there is only one group."""
    groups: dict[tuple[int, int], list[int]] = {}
    for row, corner in enumerate(zip(patch.top, rectangles.top, patch.left, rectangles.left, strict=True)):
        groups.setdefault((corner[0] - corner[1], corner[2] - corner[3]), []).append(row)
    return groups


def _overlap(start: int, extent: int, limit: int) -> slice:
    return slice(max(start, 0), min(start + extent, limit))

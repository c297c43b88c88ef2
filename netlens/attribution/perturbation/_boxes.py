"""Bounding boxes of features: if one feature is off, the maps change only within its box."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from typing import NamedTuple

import torch
from torch import Tensor

from netlens.attribution._chunk import in_chunks
from netlens.attribution._windows import Windows
from netlens.attribution.perturbation._coalitions import Coalitions


class Box(NamedTuple):
    """The smallest rectangle of rows and columns that holds a feature. `bottom` and `right` are excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)


def boxes(mask: Tensor, count: int) -> list[Box]:
    """The box of each of the features 0 to count - 1 of a mask (C, H, W).

    >>> boxes(torch.tensor([[[0, 0, 1], [0, 1, 1]]]), 2)
    [Box(top=0, left=0, bottom=2, right=2), Box(top=0, left=1, bottom=2, right=3)]
    """
    sides = []
    for dim in (1, 2):
        along = torch.arange(mask.shape[dim], device=mask.device)
        where = along.view([-1 if d == dim else 1 for d in range(3)]).expand_as(mask).flatten()
        zeros = where.new_zeros(count)
        low = zeros.scatter_reduce(0, mask.flatten(), where, "amin", include_self=False)
        high = zeros.scatter_reduce(0, mask.flatten(), where, "amax", include_self=False)
        sides.append((low.tolist(), (high + 1).tolist()))
    (tops, bottoms), (lefts, rights) = sides
    return [Box(*corners) for corners in zip(tops, lefts, bottoms, rights, strict=True)]


def ablated(game: Coalitions, windows: Windows) -> Iterator[tuple[int, int, float]]:
    """(sample, feature, f of the sample - f without the feature) for every feature of every sample.

    Features with boxes of similar size run together. Each box grows to the size of the largest.
    """
    height, width = game.activation.shape[2:]
    masks = game.mask.expand(-1, -1, height, width)
    boxes_of = [boxes(mask, count) for mask, count in zip(masks, game.counts, strict=True)]
    orders = [
        sorted(range(len(row)), key=lambda feature, row=row: -row[feature].area)  # type: ignore[misc]
        for row in boxes_of
    ]
    ends = list(accumulate(game.counts))

    def work(first: int, last: int) -> list[tuple[int, int, float]]:
        falls = []
        for sample, jobs in groupby(range(first, last), lambda job: bisect_right(ends, job)):
            features = [orders[sample][job - ends[sample]] for job in jobs]
            falls += [(sample, *fall) for fall in zip(features, play(sample, features), strict=True)]
        return falls

    def play(sample: int, features: Sequence[int]) -> list[float]:
        group = [boxes_of[sample][feature] for feature in features]
        high, wide = max(box.bottom - box.top for box in group), max(box.right - box.left for box in group)
        corners = [(min(box.top, height - high), min(box.left, width - wide)) for box in group]
        places = [(slice(top, top + high), slice(left, left + wide)) for top, left in corners]
        new = [
            torch.where(
                masks[sample][:, y, x] == feature, game.baseline[sample][:, y, x], game.activation[sample][:, y, x]
            )
            for feature, (y, x) in zip(features, places, strict=True)
        ]
        whole = windows.unchanged(sample).item()
        return [whole - value for value in windows.value(sample, places, torch.stack(new)).tolist()]

    for falls in in_chunks(ends[-1], work):
        yield from falls

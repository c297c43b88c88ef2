"""Ranks: how alike the orders of two explanations are."""

from __future__ import annotations

import torch
from torch import Tensor

from netlens.evaluation.metrics._correlations import correlation


def alike(a: Tensor, b: Tensor) -> Tensor:
    """(N,): Spearman's rank correlation of the sizes of two explanations (N, H, W). Equal sizes share their mean rank.

    An explanation that is the same everywhere has nothing in common with another one, and is like one of its kind.
    """
    a, b = (mean_ranks(maps.flatten(1).abs()) for maps in (a, b))
    return torch.where((a == b).all(1), torch.ones(len(a)).double(), correlation(a, b).nan_to_num(0))


def mean_ranks(values: Tensor) -> Tensor:
    """(N, P), float64: the rank of each value in its row, from the least, 1. Equal values share their mean rank."""
    rows = []
    for row in values:
        ordered, order = row.sort(stable=True)
        _, group, counts = ordered.unique_consecutive(return_inverse=True, return_counts=True)
        ends = counts.cumsum(0)
        places = torch.empty(len(row), dtype=torch.float64)
        places[order] = ((ends - counts + 1 + ends).double() / 2)[group]
        rows.append(places)
    return torch.stack(rows)

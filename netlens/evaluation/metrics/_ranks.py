"""Ranks: how alike the orders of two explanations are."""

from __future__ import annotations

import torch
from torch import Tensor

from netlens.evaluation.metrics._correlations import correlation


def alike(a: Tensor, b: Tensor) -> Tensor:
    """(N,): the rank correlation of the sizes of two explanations (N, H, W).

    An explanation that is the same everywhere has nothing in common with another one, and is like one of its kind.
    """
    a, b = (maps.flatten(1).abs() for maps in (a, b))
    constant = (a == a[:, :1]).all(1) & (b == b[:, :1]).all(1)
    return torch.where(constant, torch.ones(len(a)).double(), rank_correlation(a, b).nan_to_num(0))


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """(N,): Spearman's correlation of the rows of a and b (N, P); NaN where one of them is constant.

    It is Pearson's correlation of the ranks. Equal values share their mean rank.

    Args:
        a, b: Values (N, P).

    Example:
        >>> a, b = torch.tensor([[1, 2, 3], [1, 2, 3]]), torch.tensor([[1, 10, 1000], [3, 2, 1]])
        >>> rank_correlation(a, b).tolist()
        [1.0, -1.0]
    """
    return correlation(mean_ranks(a), mean_ranks(b))


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

"""The bootstrap over images: intervals of paired differences, and how often each of several is the best."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

DRAWS = 4000
_SEED = 0


@cache
def draws(n: int) -> Tensor:
    """(DRAWS, n): which images each draw takes; the same for each call."""
    generator = torch.Generator().manual_seed(_SEED)
    return torch.randint(n, (DRAWS, n), generator=generator)


def interval(differences: Tensor, level: float) -> tuple[float, float]:
    """The interval that holds this share of the bootstrap means of some differences; infinite for fewer than two.

    >>> low, high = interval(torch.tensor([1.0, 2.0, 3.0]), 0.9)
    >>> 1 <= low < 2 < high <= 3
    True
    """
    if len(differences) < 2:
        return -torch.inf, torch.inf
    means = differences.double()[draws(len(differences))].mean(1)
    tail = (1 - level) / 2
    low, high = means.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high


def shares_of_wins(scores: Tensor) -> list[float]:
    """The share of bootstrap draws of the images in which each row has the highest mean; ties are shared.

    Args:
        scores: (contestants, n), more is better, without NaN.
    """
    means = scores.double()[:, draws(scores.shape[1])].mean(2)  # (contestants, draws)
    best = (means == means.amax(0)).double()
    shares: list[float] = (best / best.sum(0)).mean(1).tolist()
    return shares

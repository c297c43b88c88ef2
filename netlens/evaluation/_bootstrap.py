"""The bootstrap over images: intervals of means, which methods can be told apart, and how often each is the best."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

DRAWS = 4000
FEWEST = 6
"""On fewer images, one method being better on each of them is chance more than once in 20 times."""
_SEED = 0


@cache
def draws(n: int) -> Tensor:
    """(DRAWS, n): which images each draw takes; the same for each call."""
    generator = torch.Generator().manual_seed(_SEED)
    return torch.randint(n, (DRAWS, n), generator=generator)


def interval(values: Tensor, level: float) -> tuple[float, float]:
    """The interval that holds this share of the bootstrap means of some values; infinite for fewer than two.

    Args:
        values: (n,), the values, without NaN.
        level: The share, from 0 to 1.

    Returns:
        The lower and the upper end, in the units of the values.

    Example:
        >>> low, high = interval(torch.tensor([1.0, 2.0, 3.0]), 0.9)
        >>> 1 <= low < 2 < high <= 3
        True
    """
    if len(values) < 2:
        return -torch.inf, torch.inf
    means = values.double()[draws(len(values))].mean(1)
    tail = (1 - level) / 2
    low, high = means.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high


def told_apart(differences: Tensor) -> bool:
    """Whether the 95% interval of the mean difference on the same images excludes 0, on enough images; NaN is left out.

    >>> told_apart(torch.tensor([1.0, 2.0, 3.0])), told_apart(torch.arange(1.0, 7))
    (False, True)
    """
    differences = differences[~differences.isnan()]
    low, high = interval(differences, 0.95)
    return len(differences) >= FEWEST and not low <= 0 <= high


def shares_of_wins(scores: Tensor) -> list[float]:
    """The share of bootstrap draws of the images in which each row has the highest mean; ties are shared.

    Args:
        scores: (contestants, n), more is better, without NaN.
    """
    means = scores.double()[:, draws(scores.shape[1])].mean(2)  # (contestants, draws)
    best = (means == means.amax(0)).double()
    shares: list[float] = (best / best.sum(0)).mean(1).tolist()
    return shares

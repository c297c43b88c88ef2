"""Steps of a path as rows of a batch: all samples at the first step, then all samples at the next step."""

from __future__ import annotations

import torch
from torch import Tensor


def rows_of(first: int, last: int, n: int) -> tuple[list[int], list[int]]:
    """The sample and the step of each row from `first` to `last`, for n samples. Rows of one sample lie n apart.

    >>> rows_of(1, 5, 2)
    ([1, 0, 1, 0], [0, 1, 1, 2])
    """
    return [row % n for row in range(first, last)], [row // n for row in range(first, last)]


def summed(values: Tensor, rows: list[int], n: int) -> Tensor:
    """(n, ...): the sum of the rows of each sample."""
    return values.new_zeros((n, *values.shape[1:])).index_add_(0, torch.tensor(rows, device=values.device), values)


def each(numbers: object, like: Tensor) -> Tensor:
    """(rows, 1, ...): one number per row, in a shape that scales the rows of `like`."""
    return torch.as_tensor(numbers).to(like).view(-1, *[1] * (like.ndim - 1))

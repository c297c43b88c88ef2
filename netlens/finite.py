"""Finite numbers: whether a tensor holds NaN or Inf, and in which sample."""

from __future__ import annotations

import torch
from torch import Tensor


def all_finite(values: Tensor) -> bool:
    """Whether no number is NaN or Inf. The check needs no memory of the size of the values.

    >>> all_finite(torch.tensor([1.0, 2.0])), all_finite(torch.tensor([1.0, torch.nan]))
    (True, False)
    """
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    if values.numel() == 0 or not values.is_floating_point():
        return True
    # if any number is not finite, the minimum or the maximum is not, either; copies of a sample have equal extremes
    low, high = (values[:1] if values.ndim and values.stride(0) == 0 else values).aminmax()
    return bool(low.isfinite() & high.isfinite())


def first_bad(values: Tensor, n: int) -> int:
    """The number of the first of n samples that holds NaN or Inf. Each sample may have several rows.

    >>> first_bad(torch.tensor([[1.0], [torch.nan], [torch.inf]]), 3)
    1
    """
    rows = values.reshape(max(1, len(values)) if values.ndim else 1, -1)
    bad = (~torch.isfinite(rows)).any(1)
    return int(bad.nonzero()[0]) * n // len(rows)

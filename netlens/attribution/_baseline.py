"""Baselines: the input that stands for absence."""

from __future__ import annotations

import torch
from torch import Tensor

from netlens.errors import NetLensError

BASELINES = "What stands for absence: one number, or a tensor that broadcasts to what is explained."
"""The help of the option `baselines`."""


def baseline_like(x: Tensor, baselines: float | Tensor) -> Tensor:
    """A baseline of the shape of x: one number everywhere, or a tensor that broadcasts to x. Callers only read it."""
    if not isinstance(baselines, Tensor):
        return x.new_full((), float(baselines)).expand_as(x)
    try:
        # each sample lies in memory without gaps, because a network may take views of it; samples may share memory
        row = baselines.to(x).expand(torch.broadcast_shapes(baselines.shape, x[:1].shape)).contiguous()
        return row.expand_as(x)
    except RuntimeError:
        raise NetLensError(
            f"a baseline of shape {tuple(baselines.shape)} does not broadcast to the input's {tuple(x.shape)}."
        ) from None

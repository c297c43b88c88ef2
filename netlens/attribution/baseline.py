"""Baselines: the input that stands for the absence of what is explained."""

from __future__ import annotations

from torch import Tensor

from netlens.errors import NetLensError


def baseline_like(x: Tensor, baselines: float | Tensor) -> Tensor:
    """A baseline of the shape of x, to be read only: one number everywhere, or a tensor that broadcasts to x."""
    if not isinstance(baselines, Tensor):
        return x.new_full((), float(baselines)).expand_as(x)
    try:
        return baselines.to(x).expand_as(x)
    except RuntimeError:
        raise NetLensError(
            f"a baseline of shape {tuple(baselines.shape)} does not broadcast to the input's {tuple(x.shape)}."
        ) from None

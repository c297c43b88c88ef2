"""Precision: the widest floating-point type of a device, and a type that is wide enough for sums and powers."""

from __future__ import annotations

from typing import Any, overload

import torch
from torch import Tensor


def widest(device: torch.device) -> torch.dtype:
    """The widest floating-point type of a device: float64, or float32 on Apple's GPUs.

    >>> widest(torch.device("cpu")), widest(torch.device("mps"))
    (torch.float64, torch.float32)
    """
    return torch.float32 if device.type == "mps" else torch.float64


@overload
def precise(value: Tensor) -> Tensor: ...
@overload
def precise(value: Any) -> Any: ...
def precise(value: Any) -> Any:
    """A tensor in float32 at least, because half precision is too narrow for sums over maps and for powers.

    A value that is no tensor stays as it is.

    >>> precise(torch.ones(2, dtype=torch.float16)).dtype, precise(torch.ones(2, dtype=torch.float64)).dtype
    (torch.float32, torch.float64)
    """
    half = isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value

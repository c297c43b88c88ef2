"""Probes: runs of a network on noise, which show what its layers do not say. No hooks listen to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from netlens.fast.chunks import out_of_memory
from netlens.flat import FlatModel
from netlens.flat.bundle import parts_of
from netlens.flat.memory import unmetered
from netlens.flat.running import Tap, tapped, untapped


def pair_like(flat: FlatModel, x: Tensor) -> Tensor:
    """Two samples of the shape of those of x. They differ in their statistics and at every position.

    Integers among several inputs are those of x, because noise may be no index.
    """
    if not x.is_floating_point():
        return x[[0, -1]]
    noise = torch.randn(2, *x.shape[1:], generator=torch.Generator().manual_seed(0)).to(x)
    pair = torch.cat([noise[:1], noise[1:] / 4 + 1])
    for part in parts_of(flat).values():
        if not part.dtype.is_floating_point:
            pair[:, part.columns] = x[[0, -1]][:, part.columns]
    return pair


def probed(flat: FlatModel, x: Tensor, keys: Sequence[str], tap: Tap | None = None) -> dict[str, Any] | Exception:
    """The values at these keys, or the error of the network if it fails on these samples."""
    try:
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False), unmetered(), untapped():
            if tap is None:
                return flat.run({flat.inputs[0]: x}, keys)
            with tapped(tap):
                return flat.run({flat.inputs[0]: x}, keys)
    except Exception as error:
        if out_of_memory(error):
            raise
        return error


def kind_of(x: Tensor) -> tuple[Any, ...]:
    """The properties of a batch on which the answer of a probe depends: the shape of a sample, the type, the device."""
    return x.shape[1:], x.dtype, x.device


def close(numbers: Tensor, expected: Tensor) -> bool:
    """Whether two tensors are equal up to rounding, which depends on how many samples run together."""
    if numbers.shape != expected.shape:
        return False
    size = expected.nan_to_num(0, 0, 0).abs().amax() if expected.numel() else 0
    rounding = torch.finfo(expected.dtype).eps ** 0.4 * float(size)
    return torch.allclose(numbers, expected.to(numbers.dtype), rtol=0, atol=rounding, equal_nan=True)

"""Memory: meters measure what the activations of a run take, and a run reuses what earlier runs have freed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

LARGEST = 2**25 - 2**16
"""Bytes, just below the largest block size that glibc adapts to."""


@dataclass
class Meter:
    """The memory that the activations of flat models take.

    Attributes:
        live: The largest number of bytes, at any time, of activations that later layers still read.
        bytes: The same number, with the activations that an autograd graph keeps until the backward run.
        largest: The number of bytes of the largest activation.
        device: The device of the activations.
    """

    live: int = 0
    bytes: int = 0
    largest: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _graph_bytes: int = 0

    def note(self, value: Any, live_values: Iterable[Any]) -> None:
        """Count the value of a step. `live_values` are the other values that are in memory at this time."""
        live_storages, new_storages = _storages(live_values), _storages([value])
        if torch.is_grad_enabled():
            self._graph_bytes += sum(new_storages[address] for address in new_storages.keys() - live_storages.keys())
        self.live = max(self.live, sum({**live_storages, **new_storages}.values()))
        self.bytes = max(self.bytes, self._graph_bytes, self.live)
        self.largest = max(self.largest, *new_storages.values(), 0)
        if isinstance(value, Tensor):
            self.device = value.device


def _storages(values: Iterable[Any]) -> dict[int, int]:
    """The bytes of storages by address, so that views count once. Tensors within `torch.func` have no storage."""
    tensors = (value for value in values if isinstance(value, Tensor) and not is_functorch_wrapped_tensor(value))
    storages = (value.untyped_storage() for value in tensors)
    return {storage.data_ptr(): storage.nbytes() for storage in storages}


_METERS: ContextVar[tuple[Meter, ...]] = ContextVar("netlens_meters", default=())


def meters() -> tuple[Meter, ...]:
    """The meters that are active in this thread."""
    return _METERS.get()


@contextmanager
def unmetered() -> Iterator[None]:
    """Within the block, no run in this thread is measured. Use it for runs that all chunks share."""
    token = _METERS.set(())
    try:
        yield
    finally:
        _METERS.reset(token)


@contextmanager
def metered() -> Iterator[Meter]:
    """Within the block, a new meter measures all runs in this thread."""
    meter = Meter()
    token = _METERS.set((*_METERS.get(), meter))
    try:
        yield meter
    finally:
        _METERS.reset(token)


@cache
def keep_freed_memory() -> None:
    """Make the C library keep freed memory for later runs.

    glibc maps a new block for each large tensor and unmaps it afterwards, so that the system clears the pages each
    time. On small networks this takes as long as the layers. When such a block is freed, glibc adapts: it keeps blocks
    up to that size from then on. So this function takes one block of the largest size and frees it. It changes no
    setting and does not touch the block. It has no effect on other C libraries.
    """
    torch.empty(LARGEST, dtype=torch.uint8, device="cpu")

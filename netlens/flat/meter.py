"""What a run holds in memory, measured on the way: chunks of further runs are chosen by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor


@dataclass
class Meter:
    """The bytes of activations in runs of flat models, and the device that they lie on.

    live: the most that are read or written yet at one time; bytes: the same, but what a graph for gradients keeps
    counts until the end. largest: of a single activation.
    """

    live: int = 0
    bytes: int = 0
    largest: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _kept: int = 0

    def note(self, value: Any, held: Iterable[Any]) -> None:
        """See what a step gives, and the other values that are held beside it."""
        before, new = _storages(held), _storages([value])
        if torch.is_grad_enabled():
            self._kept += sum(new[address] for address in new.keys() - before.keys())
        self.live = max(self.live, sum({**before, **new}.values()))
        self.bytes = max(self.bytes, self._kept, self.live)
        self.largest = max(self.largest, *new.values(), 0)
        if isinstance(value, Tensor):
            self.device = value.device


def _storages(values: Iterable[Any]) -> dict[int, int]:
    """The bytes of storages by their address, so that views count once; within `torch.func`, tensors have none."""
    tensors = (value for value in values if isinstance(value, Tensor) and not is_functorch_wrapped_tensor(value))
    storages = (value.untyped_storage() for value in tensors)
    return {storage.data_ptr(): storage.nbytes() for storage in storages}


_METERS: ContextVar[tuple[Meter, ...]] = ContextVar("netlens_meters", default=())


def meters() -> tuple[Meter, ...]:
    """Those that measure in this thread."""
    return _METERS.get()


@contextmanager
def unmetered() -> Iterator[None]:
    """Within the block, nothing is measured in this thread: runs that chunks share, however large they are."""
    token = _METERS.set(())
    try:
        yield
    finally:
        _METERS.reset(token)


@contextmanager
def metered() -> Iterator[Meter]:
    """Within the block, all runs in this thread are measured."""
    meter = Meter()
    token = _METERS.set((*_METERS.get(), meter))
    try:
        yield meter
    finally:
        _METERS.reset(token)

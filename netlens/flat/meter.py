"""What a run holds in memory, measured on the way: chunks of further runs are chosen by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class Meter:
    """The most bytes of activations that runs of flat models held at one time, and the device that they lie on.

    What a graph for gradients keeps counts until the end.
    """

    bytes: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _kept: int = 0

    def note(self, value: Any, held: Iterable[Any]) -> None:
        """See what a step gives, and the other values that are held beside it."""
        before, new = _storages(held), _storages([value])
        if torch.is_grad_enabled():
            self._kept += sum(new[address] for address in new.keys() - before.keys())
        self.bytes = max(self.bytes, self._kept, sum({**before, **new}.values()))
        if isinstance(value, Tensor):
            self.device = value.device


def _storages(values: Iterable[Any]) -> dict[int, int]:
    """The bytes of storages by their address, so that views count once."""
    storages = (value.untyped_storage() for value in values if isinstance(value, Tensor))
    return {storage.data_ptr(): storage.nbytes() for storage in storages}


_METERS: ContextVar[tuple[Meter, ...]] = ContextVar("netlens_meters", default=())


def meters() -> tuple[Meter, ...]:
    """Those that measure in this thread."""
    return _METERS.get()


@contextmanager
def metered() -> Iterator[Meter]:
    """Within the block, all runs in this thread are measured."""
    meter = Meter()
    token = _METERS.set((*_METERS.get(), meter))
    try:
        yield meter
    finally:
        _METERS.reset(token)

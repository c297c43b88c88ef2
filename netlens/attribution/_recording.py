"""A recording: the activations and gradients of one run of a network, which several methods share.

A `Recording` is a run that methods share. A `Record` of `netlens.objectives` holds the activations that one objective
reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from netlens.flat import FlatModel
from netlens.objectives import Objective


@dataclass(frozen=True, eq=False)
class Recording:
    """One run on `x`: activations by key, the values (n,) of an objective, and its gradients at some of the keys."""

    flat: FlatModel
    x: Tensor
    objective: Objective
    activations: dict[str, Any] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    value: Tensor | None = None

    def of(self, flat: FlatModel, x: Tensor) -> bool:
        """Whether this is a run of the same network object on the same memory."""
        same = x.data_ptr() == self.x.data_ptr() and x.shape == self.x.shape and x.stride() == self.x.stride()
        return flat is self.flat and same and x.dtype == self.x.dtype

    def activations_at(self, keys: Sequence[str]) -> dict[str, Any]:
        """The activations at these keys. Missing ones are computed from those that are recorded."""
        absent = [key for key in keys if key not in self.activations]
        if absent:
            recorded = {self.flat.inputs[0]: self.x, **self.activations}
            self.activations.update(self.flat.run(recorded, absent))
        return {key: self.activations[key] for key in keys}


# a context variable is per thread (and per asyncio task), so one thread never reads another's recording
_RECORDING: ContextVar[Recording | None] = ContextVar("netlens_recording", default=None)


@contextmanager
def playing(recording: Recording) -> Iterator[Recording]:
    """Within the block, methods in this thread that need the same run read the recording instead."""
    token = _RECORDING.set(recording)
    try:
        yield recording
    finally:
        _RECORDING.reset(token)


def recording_of(flat: FlatModel, x: Tensor) -> Recording | None:
    """The recording that plays in this thread, if it is a run of `flat` on `x`."""
    recording = _RECORDING.get()
    return recording if recording is not None and recording.of(flat, x) else None

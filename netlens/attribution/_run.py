"""A run: the activations of a network on a batch, and the gradients of an objective. Several methods may share one."""

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
class Run:
    """One run on `x`: activations by key, the values (n,) of an objective, and its gradients at some of the keys."""

    flat: FlatModel
    x: Tensor
    objective: Objective
    activations: dict[str, Any] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    values: Tensor | None = None

    def is_of(self, flat: FlatModel, x: Tensor) -> bool:
        """Whether this is a run of the same network object on the same memory."""
        same = x.data_ptr() == self.x.data_ptr() and x.shape == self.x.shape and x.stride() == self.x.stride()
        return flat is self.flat and same and x.dtype == self.x.dtype

    def activations_at(self, keys: Sequence[str]) -> dict[str, Any]:
        """The activations at these keys. Missing ones are computed from those that the run has."""
        absent = [key for key in keys if key not in self.activations]
        if absent:
            feeds = {self.flat.inputs[0]: self.x, **self.activations}
            self.activations.update(self.flat.run(feeds, absent))
        return {key: self.activations[key] for key in keys}


# a context variable is per thread (and per asyncio task), so one thread never reads another's run
_SHARED: ContextVar[Run | None] = ContextVar("netlens_shared_run", default=None)


@contextmanager
def sharing(run: Run) -> Iterator[Run]:
    """Within the block, methods in this thread that need the same run read `run` instead of running again."""
    token = _SHARED.set(run)
    try:
        yield run
    finally:
        _SHARED.reset(token)


def shared_run(flat: FlatModel, x: Tensor) -> Run | None:
    """The run that is shared in this thread, if it is a run of `flat` on `x`."""
    run = _SHARED.get()
    return run if run is not None and run.is_of(flat, x) else None

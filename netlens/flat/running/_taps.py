"""Taps: interceptors of runs of a flat model. A tap sees values of runs in its thread, and may change them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from torch import nn

from netlens.flat.running._step import Step, Visit


class Tap(ABC):
    """Abstract: an interceptor that sees, and may change, the values of one flat model.

    Args:
        flat: The flat model.
        keys: The keys of the inputs and layers whose values the tap sees; None for all. A run may overwrite the memory
            of other values.
    """

    def __init__(self, flat: nn.Module, keys: Collection[str] | None = None) -> None:
        self.flat = flat
        self.keys = None if keys is None else frozenset(keys)

    def sees(self, key: str) -> bool:
        """Whether the tap sees the value at `key`."""
        return self.keys is None or key in self.keys

    @property
    def changes(self) -> bool:
        """Whether the tap may change values."""
        return False

    def layer(self, key: str) -> nn.Module | None:
        """A layer to run instead of the layer at `key`; None to keep that layer."""
        return None

    @abstractmethod
    def value(self, key: str, value: Any) -> Any:
        """Get the value at `key` (a layer or an input), and return the value that later layers read in its place."""


# each thread (and asyncio task) has its own context variable, so taps in one thread never see the run of another
_TAPS: ContextVar[tuple[Tap, ...]] = ContextVar("netlens_taps", default=())


T = TypeVar("T", bound=Tap)


@contextmanager
def tapped(tap: T) -> Iterator[T]:
    """Within the block, `tap` sees the runs of its flat model in this thread.

    If several taps are active, each sees the value that the tap before it returned.
    """
    token = _TAPS.set((*_TAPS.get(), tap))
    try:
        yield tap
    finally:
        _TAPS.reset(token)


@contextmanager
def untapped() -> Iterator[None]:
    """Within the block, no tap is active in this thread. Use it for runs that test how a network behaves."""
    token = _TAPS.set(())
    try:
        yield
    finally:
        _TAPS.reset(token)


def tapped_inputs(flat: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs, as the taps that are active for `flat` change them."""
    for tap in _active(flat):
        inputs = {key: tap.value(key, value) if tap.sees(key) else value for key, value in inputs.items()}
    return inputs


def tapped_visit(flat: nn.Module) -> Visit | None:
    """The function that runs a step under the taps that are active for `flat`; None if no tap is active."""
    taps = _active(flat)
    if not taps:
        return None

    def run(step: Step, inputs: list[Any]) -> Any:
        step_taps = [tap for tap in taps if tap.sees(step.key)]
        replacements = [layer for layer in (tap.layer(step.key) for tap in step_taps) if layer is not None]
        value = (replacements[-1] if replacements else step.layer)(*inputs)
        for tap in step_taps:
            value = tap.value(step.key, value)
        return value

    all_keys = any(tap.keys is None for tap in taps)
    return Visit(run, None if all_keys else frozenset().union(*(tap.keys or () for tap in taps)))


def may_change(flat: nn.Module) -> bool:
    """Whether a tap that is active for `flat` may change its values."""
    return any(tap.changes for tap in _active(flat))


def _active(flat: nn.Module) -> list[Tap]:
    return [tap for tap in _TAPS.get() if getattr(tap.flat, "origin", tap.flat) is getattr(flat, "origin", flat)]

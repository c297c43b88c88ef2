"""Taps: what listens to a flat model's run in this thread; the stack that hooks push themselves on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from torch import nn

from netlens.flat.step import Step, Visit


class Tap(ABC):
    """Abstract: sees, and may change, what the steps of one flat model compute.

    keys: the values that it looks at, inputs among them; None for all. Only these are sure not to be overwritten.
    """

    def __init__(self, flat: nn.Module, keys: Collection[str] | None = None) -> None:
        self.flat = flat
        self.keys = None if keys is None else frozenset(keys)

    def sees(self, key: str) -> bool:
        """Whether it looks at the value at `key`."""
        return self.keys is None or key in self.keys

    @property
    def changes(self) -> bool:
        """Whether it may change what the network computes."""
        return False

    def layer(self, key: str) -> nn.Module | None:
        """A layer to run instead of the one at `key`; None for no change."""
        return None

    @abstractmethod
    def value(self, key: str, value: Any) -> Any:
        """The value at `key` (a layer or an input) that the rest of the network shall see."""


# a context variable is per thread (and per asyncio task), so hooks in one thread never see another's run
_TAPS: ContextVar[tuple[Tap, ...]] = ContextVar("netlens_taps", default=())


T = TypeVar("T", bound=Tap)


@contextmanager
def tapped(tap: T) -> Iterator[T]:
    """Within the block, `tap` listens to the runs of its flat model in this thread, inside all earlier taps."""
    token = _TAPS.set((*_TAPS.get(), tap))
    try:
        yield tap
    finally:
        _TAPS.reset(token)


@contextmanager
def untapped() -> Iterator[None]:
    """Within the block, nothing listens in this thread: runs that find out how a network behaves."""
    token = _TAPS.set(())
    try:
        yield
    finally:
        _TAPS.reset(token)


def tapped_inputs(flat: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs as the taps that are active for `flat` let the network see them."""
    for tap in _active(flat):
        inputs = {key: tap.value(key, value) if tap.sees(key) else value for key, value in inputs.items()}
    return inputs


def tapped_visit(flat: nn.Module) -> Visit | None:
    """How to run a step under the taps that are active for `flat`; None when there are none."""
    taps = _active(flat)
    if not taps:
        return None

    def run(step: Step, inputs: list[Any]) -> Any:
        listening = [tap for tap in taps if tap.sees(step.key)]
        replacements = [layer for layer in (tap.layer(step.key) for tap in listening) if layer is not None]
        value = (replacements[-1] if replacements else step.layer)(*inputs)
        for tap in listening:
            value = tap.value(step.key, value)
        return value

    every = any(tap.keys is None for tap in taps)
    return Visit(run, None if every else frozenset().union(*(tap.keys or () for tap in taps)))


def edited(flat: nn.Module) -> bool:
    """Whether a tap that is active for `flat` may change what it computes."""
    return any(tap.changes for tap in _active(flat))


def _active(flat: nn.Module) -> list[Tap]:
    return [tap for tap in _TAPS.get() if getattr(tap.flat, "origin", tap.flat) is getattr(flat, "origin", flat)]

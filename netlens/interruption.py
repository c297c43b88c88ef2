"""Interruption: a long run that ends soon after somebody asks it to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Interrupted(BaseException):
    """A run ended early, because it was asked to.

    It is no `Exception`, as `KeyboardInterrupt` and `asyncio.CancelledError` are none: code that tries something else
    after an error must not go on after an interruption.
    """


_MUST_STOP: ContextVar[Callable[[], bool] | None] = ContextVar("netlens_interruption", default=None)


@contextmanager
def interruptible(must_stop: Callable[[], bool]) -> Iterator[None]:
    """Within the block, runs of this thread end with `Interrupted` as soon as `must_stop()` is True.

    Networks ask before each layer, so that even a method that takes minutes ends at once.

    Args:
        must_stop: A fast function, such as `threading.Event().is_set`, whose answer any thread may change.

    Example:
        >>> from threading import Event
        >>> stop = Event()
        >>> with interruptible(stop.is_set):
        ...     asked_now()
        False
    """
    token = _MUST_STOP.set(must_stop)
    try:
        yield
    finally:
        _MUST_STOP.reset(token)


def interruption() -> Callable[[], bool] | None:
    """The function of the innermost `interruptible` block of this thread; None outside of such blocks."""
    return _MUST_STOP.get()


def asked_now() -> bool:
    """Whether the runs of this thread are asked to end."""
    must_stop = _MUST_STOP.get()
    return must_stop is not None and must_stop()

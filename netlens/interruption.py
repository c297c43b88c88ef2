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


_ASKED: ContextVar[Callable[[], bool] | None] = ContextVar("netlens_interruption", default=None)


@contextmanager
def interruptible(asked: Callable[[], bool]) -> Iterator[None]:
    """Within the block, runs of this thread end with `Interrupted` as soon as `asked()` is True.

    Networks ask before each layer, so that even a method that takes minutes ends at once.

    Args:
        asked: A fast function that any thread may answer, such as `threading.Event().is_set`.

    Example:
        >>> from threading import Event
        >>> stop = Event()
        >>> with interruptible(stop.is_set):
        ...     asked_now()
        False
    """
    token = _ASKED.set(asked)
    try:
        yield
    finally:
        _ASKED.reset(token)


def interruption() -> Callable[[], bool] | None:
    """The function of the innermost `interruptible` block of this thread; None outside of such blocks."""
    return _ASKED.get()


def asked_now() -> bool:
    """Whether the runs of this thread are asked to end."""
    asked = _ASKED.get()
    return asked is not None and asked()

"""Work: a long computation in a thread of its own that shows what it has so far, and that can be stopped."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any, TypeVar

import gradio as gr

from netlens.errors import NetLensError
from netlens.fast.chunks import out_of_memory
from netlens.interruption import Interrupted, interruptible
from netlens.playground import _html as html

T = TypeVar("T")
Show = Callable[[T], None]
_BREATH = 0.1  # seconds after which the page looks whether somebody still waits for the result
_ONE = threading.Lock()  # a computation that was stopped may run up to its next layer; the next one waits for it


class _End:
    """The end of a computation, and the error that ended it."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def shown_as_made(work: Callable[[Show[T]], None]) -> Iterator[T | None]:
    """Run `work` in a thread, and yield each result that it shows; None, from time to time, while it has nothing new.

    When the page stops to ask for results (Stop was pressed, or the tab was closed), the computation ends before the
    next layer of the network. One computation runs at a time. Errors of the computation are raised here.

    Args:
        work: The computation. It gets a function that shows a result.
    """
    results: queue.Queue[Any] = queue.Queue()
    stop = threading.Event()

    def run() -> None:
        error = None
        try:
            with _turn(stop), interruptible(stop.is_set):
                work(results.put)
        except Interrupted:
            pass
        except BaseException as raised:  # it is raised again in the thread of the page
            error = raised
        results.put(_End(error))

    threading.Thread(target=run, name="netlens playground", daemon=True).start()
    try:
        while True:
            try:
                result = results.get(timeout=_BREATH)
            except queue.Empty:
                yield None
                continue
            if isinstance(result, _End):
                if result.error is not None:
                    raise result.error
                return
            yield result
    finally:
        stop.set()


@contextmanager
def _turn(stop: threading.Event) -> Iterator[None]:
    """Wait until no other computation runs."""
    while not _ONE.acquire(timeout=_BREATH):
        if stop.is_set():
            raise Interrupted
    try:
        if stop.is_set():
            raise Interrupted
        yield
    finally:
        _ONE.release()


def shown_after_error(work: Callable[[Show[T]], None], last: Callable[[], T]) -> Callable[[Show[T]], None]:
    """The same computation; if an error ends it, it shows `last()` before the error is told.

    Without it, the page would go on showing a state in which something is being computed.

    Args:
        work: The computation.
        last: Gives what the page shows of a computation that has ended early.
    """

    def whole(show: Show[T]) -> None:
        try:
            work(show)
        except Exception:
            show(last())
            raise

    return whole


@contextmanager
def in_one_line() -> Iterator[None]:
    """Show an error that a person can correct as one line of the page, without a traceback."""
    try:
        yield
    except Exception as error:
        line = line_of(error)
        if line is None:
            raise
        raise gr.Error(escape(line), title="This does not work", print_exception=False) from error


def or_hint(make: Callable[[], str]) -> str:
    """The HTML that `make` makes; or, in its place, the line of an error that a person can correct.

    It is for what only shows something: a job that fails for the same reason tells the error aloud, once.
    """
    try:
        return make()
    except Exception as error:
        line = line_of(error)
        if line is None:
            raise
        return html.hint(line)


def line_of(error: Exception) -> str | None:
    """An error that a person can correct, as one line; None for an error of the program.

    >>> line_of(OSError("the disk is full")), line_of(KeyError("x"))
    ('the disk is full', None)
    """
    if isinstance(error, NetLensError | OSError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError | RuntimeError) and out_of_memory(error):
        return "there is not enough memory; choose a smaller size, or a smaller picture."
    return None

"""How many samples a method runs together: as many as fit in memory, or as many as a person asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from netlens.fast import chunks
from netlens.options import checked

# a context variable is per thread, as the method that runs there is
_ASKED: ContextVar[int | None] = ContextVar("netlens_samples_together", default=None)


@contextmanager
def chunks_of(size: int | None) -> Iterator[None]:
    """Within the block, every method runs at most `size` samples together.

    Memory grows with the size, and the values stay the same. Without it, the first sample says how many others fit, and
    a chunk is halved where memory runs out. So a size of one's own is for a device that other programs need, too.

    Args:
        size: Samples in one run, at least 1; None for as many as fit.

    >>> from netlens import NetLens, open_network
    >>> from netlens.world.scene import scene
    >>> lens = NetLens(open_network(), scene(0).image)
    >>> with chunks_of(8):
    ...     values = lens.occlusion(window=64, stride=64).values
    """
    token = _ASKED.set(checked("the size of chunks", size, int | None, least=1))
    try:
        yield
    finally:
        _ASKED.reset(token)


def chunk_size() -> int | None:
    """How many samples run together here; None for as many as fit."""
    return _ASKED.get()


def in_chunks(total: int, work: Callable[[int, int], Any]) -> Iterator[Any]:
    """`work(start, stop)` over `range(total)`, once, in chunks of the size that is asked for."""
    return chunks.in_chunks(total, chunk_size(), work)

"""How many samples a method runs together: as many as fit in memory, or at most a size that the caller sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from netlens.fast import chunks
from netlens.options import checked

# each thread has its own value of a context variable
_CHUNK_SIZE: ContextVar[int | None] = ContextVar("netlens_samples_together", default=None)


@contextmanager
def chunks_of(size: int | None) -> Iterator[None]:
    """Within the block, every method runs at most `size` samples together.

    A larger size takes more memory and gives the same values. Without a size, the memory that the first sample uses
    shows how many samples fit. When memory runs out, a chunk is halved, with or without a size. So a size is useful
    only if other programs use the device too.

    Args:
        size: The number of samples in one run, at least 1; None for as many as fit.

    >>> from netlens import NetLens, open_network
    >>> from netlens.world.scene import scene
    >>> lens = NetLens(open_network(), scene(0).image)
    >>> with chunks_of(8):
    ...     values = lens.occlusion(window=64, stride=64).values
    """
    token = _CHUNK_SIZE.set(checked("the size of chunks", size, int | None, least=1))
    try:
        yield
    finally:
        _CHUNK_SIZE.reset(token)


def chunk_size() -> int | None:
    """How many samples run together in this thread; None for as many as fit."""
    return _CHUNK_SIZE.get()


def in_chunks(total: int, work: Callable[[int, int], Any]) -> Iterator[Any]:
    """The results of `work(start, stop)` for chunks that cover `range(total)` once, each of the chosen size."""
    return chunks.in_chunks(total, chunk_size(), work)

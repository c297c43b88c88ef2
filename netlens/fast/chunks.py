"""Chunks: how many samples run together, chosen by what their layers hold, and fewer of them when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from netlens.errors import NetLensError
from netlens.flat.allocator import LARGEST
from netlens.flat.meter import Meter, metered

# a context variable is per thread (and per asyncio task), as the network that runs there is
_SIZED: ContextVar[Callable[[], int | None] | None] = ContextVar("netlens_chunk_size", default=None)


@contextmanager
def sized(by: Callable[[], int | None]) -> Iterator[None]:
    """Within the block, chunks are of the size that `by` gives, whatever size was asked for; None leaves it to that.

    For samples that have to run together, or alone. `by` is asked when there is more than one to run.
    """
    token = _SIZED.set(by)
    try:
        yield
    finally:
        _SIZED.reset(token)


@dataclass
class Chunks:
    """The size of the chunks of work that is done again and again, found out once.

    size: None takes what fits: the first sample runs alone, and what its layers hold says how many of the others run
    together (`fitting`). It is halved when memory runs out.
    """

    size: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise NetLensError(f"chunk must be at least 1, or None for as many as fit, not {self.size}.")

    def over(self, total: int, work: Callable[[int, int], Any], progress: bool = True) -> Iterator[Any]:
        """`work(start, stop)` over `range(total)`; where memory runs out, it goes on where it was.

        Shows its progress in a terminal once it takes longer than a second.
        """
        start, by = 0, _SIZED.get()
        fixed = None if by is None or total < 2 else by()
        with tqdm(total=total, delay=1, disable=None if progress else True, leave=False) as bar:
            while start < total:
                size = self.size if fixed is None else fixed
                stop = min(start + (1 if size is None else size), total)
                try:
                    if size is None:
                        with metered() as meter:
                            result = work(start, stop)
                        self.size = fitting(meter)
                    else:
                        result = work(start, stop)
                except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                    if not out_of_memory(error) or stop - start == 1 or fixed is not None:
                        raise
                    self.size = (stop - start) // 2
                    continue
                yield result
                bar.update(stop - start)
                start = stop


def in_chunks(total: int, size: int | None, work: Callable[[int, int], Any]) -> Iterator[Any]:
    """`work(start, stop)` over `range(total)`, once, in chunks of a size or, given None, of one that fits."""
    return Chunks(size).over(total, work)


def fitting(meter: Meter) -> int:
    """How many runs of one sample, of which one was measured, make a chunk.

    On a CPU, small ones are the fastest: what the next layer reads should not be far away, and tensors that are too
    large for one run to leave to the next are cleared page by page in each. On a GPU, a few samples leave most of it
    idle, so they take an eighth of its memory, be it free or not: the same image is computed in the same chunks again.
    """
    live, memory, largest = 2**26, 2**30, LARGEST
    if meter.device.type == "cuda":
        live = memory = largest = torch.cuda.get_device_properties(meter.device).total_memory // 8
    elif meter.device.type == "mps":
        live = memory = largest = torch.mps.recommended_max_memory() // 8
    pairs = ((live, meter.live), (memory, meter.bytes), (largest, meter.largest))
    return max(1, min(256, *(limit // max(1, each) for limit, each in pairs)))


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that there is not enough memory."""
    # on CPUs and Apple's GPUs, and where a library of CUDA's asks for memory itself, there is no error class for it
    spoken = ("can't allocate memory", "out of memory", "ALLOC_FAILED", "Storage size calculation overflowed")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(words in str(error) for words in spoken)

"""Chunks: how many samples run together. The number depends on the memory that the activations of a sample take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from netlens.flat.memory import LARGEST, Meter, metered
from netlens.options import checked

# each thread (and asyncio task) has its own context variable
_SIZED: ContextVar[Callable[[], int | None] | None] = ContextVar("netlens_chunk_size", default=None)


@contextmanager
def sized(choose_size: Callable[[], int | None]) -> Iterator[None]:
    """Within the block, `choose_size` sets the size of chunks in this thread.

    Use it if samples must run together, or must run alone.

    Args:
        choose_size: A function that returns a size, at least 1; or None, so that `Chunks` chooses the size. The
            function is called if there is more than one sample to run.
    """
    token = _SIZED.set(choose_size)
    try:
        yield
    finally:
        _SIZED.reset(token)


@dataclass
class Chunks:
    """The size of the chunks of repeated work. It is halved when memory runs out.

    Args:
        size: The number of samples that run together, at least 1. If None, the first sample runs alone, and the memory
            that its activations take determines the size of all other chunks (see `fitting`).

    Raises:
        NetLensError: `size` is below 1.

    Example:
        >>> list(Chunks(2).over(5, lambda start, stop: (start, stop)))
        [(0, 2), (2, 4), (4, 5)]
    """

    size: int | None = None

    def __post_init__(self) -> None:
        self.size = checked("chunk", self.size, int | None, least=1)

    def over(self, total: int, work: Callable[[int, int], Any], progress: bool = True) -> Iterator[Any]:
        """Yield `work(start, stop)` for each chunk of `range(total)`. If memory runs out, chunks are halved.

        Args:
            total: The number of samples.
            work: A function of (start, stop): a chunk holds the samples from start to stop - 1.
            progress: Whether a terminal shows a progress bar, if the work takes more than a second.
        """
        start, chosen_size = 0, _SIZED.get()
        fixed = None if chosen_size is None or total < 2 else chosen_size()
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
    """Yield `work(start, stop)` for chunks of `range(total)`. If `size` is None, `Chunks` chooses a size that fits."""
    return Chunks(size).over(total, work)


def fitting(meter: Meter) -> int:
    """The number of samples in a chunk, from 1 to 256. `meter` has measured the run of one sample.

    On a CPU, small chunks are the fastest. The input of the next layer is then still in the cache, and tensors reuse
    freed memory; for very large tensors, the system clears new pages in each run. On a GPU, small chunks leave most of
    the cores idle, so a chunk takes an eighth of the GPU's memory. The size does not depend on the free memory, so that
    the same image always runs in the same chunks.
    """
    live, memory, largest = 2**26, 2**30, LARGEST
    if meter.device.type == "cuda":
        live = memory = largest = torch.cuda.get_device_properties(meter.device).total_memory // 8
    elif meter.device.type == "mps":
        live = memory = largest = torch.mps.recommended_max_memory() // 8
    pairs = ((live, meter.live), (memory, meter.bytes), (largest, meter.largest))
    return max(1, min(256, *(limit // max(1, used) for limit, used in pairs)))


def out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out."""
    # CPUs, Apple's GPUs and some libraries of CUDA raise a plain RuntimeError
    messages = ("can't allocate memory", "out of memory", "ALLOC_FAILED", "Storage size calculation overflowed")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(text in str(error) for text in messages)

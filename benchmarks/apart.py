"""A peer in a process of its own, so that it runs as it does for people who use it without netlens.

Flattening a network teaches the C library to keep freed memory, from which whatever runs in the same process gains.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

SETTLING = 0.02  # seconds, in which the threads of the process that ran before stop waiting for more


class Apart:
    """A work that another process makes and runs, one run for each call; a context manager that ends the process.

    make: gives the work; it and its arguments can be pickled. The answer comes with the first run only.
    """

    def __init__(self, make: Callable[..., Callable[[], Tensor]], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.here, there = context.Pipe()
        self.process = context.Process(target=_serve, args=(there, make, arguments), daemon=True)
        self.process.start()
        there.close()

    def __enter__(self) -> Apart:
        self.here.recv()  # until it is made, so that nothing is timed beside that
        return self

    def __exit__(self, *_: object) -> None:
        self.here.close()
        self.process.join()

    def timed(self) -> tuple[float, Tensor | None]:
        """The seconds that a run took there, and what it gave."""
        time.sleep(SETTLING)
        self.here.send(None)
        seconds, answer = self.here.recv()
        time.sleep(SETTLING)
        return seconds, None if answer is None else torch.from_numpy(answer)


def _serve(there: Connection, make: Callable[..., Callable[[], Tensor]], arguments: tuple[Any, ...]) -> None:
    work = make(*arguments)
    there.send(None)
    first = True
    while True:
        try:
            there.recv()
        except EOFError:
            return
        start = time.perf_counter()
        answer = work()
        seconds = time.perf_counter() - start
        there.send((seconds, answer.numpy() if first else None))
        first = False

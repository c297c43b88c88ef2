"""A peer in a separate process, so that it runs as it does without netlens.

When a network is flattened, the C library starts to keep freed memory. This would make a peer in the same process
faster, too.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

SETTLING = 0.02  # seconds; after a run, the threads of a process wait actively for a short time


class Apart:
    """A work that another process makes and runs, one run for each call. At the end of the block, the process ends.

    Args:
        make: A function that makes the work. The function and its arguments must be picklable.
        *arguments: The arguments of `make`.
    """

    def __init__(self, make: Callable[..., Callable[[], Tensor]], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, child_connection = context.Pipe()
        self.process = context.Process(target=_serve, args=(child_connection, make, arguments), daemon=True)
        self.process.start()
        child_connection.close()

    def __enter__(self) -> Apart:
        self.connection.recv()  # waits until the work is made, because making it would disturb timings
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self.process.join()

    def timed(self) -> tuple[float, Tensor | None]:
        """The seconds of a run in the other process, and its result (None after the first run)."""
        time.sleep(SETTLING)
        self.connection.send(None)
        seconds, answer = self.connection.recv()
        time.sleep(SETTLING)
        return seconds, None if answer is None else torch.from_numpy(answer)


def _serve(connection: Connection, make: Callable[..., Callable[[], Tensor]], arguments: tuple[Any, ...]) -> None:
    work = make(*arguments)
    connection.send(None)
    is_first = True
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        start = time.perf_counter()
        answer = work()
        seconds = time.perf_counter() - start
        connection.send((seconds, answer.numpy() if is_first else None))
        is_first = False

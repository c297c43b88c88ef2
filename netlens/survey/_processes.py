"""This process, or several on this machine."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from netlens.errors import NetLensError
from netlens.interruption import Interrupted, interruption
from netlens.survey._engine import Engine
from netlens.survey._job import Job
from netlens.survey._packing import packed, portable, unpacked
from netlens.survey._parts import Place

_PATIENCE = 0.1  # seconds between two questions whether the run should end


@dataclass(frozen=True)
class Here(Engine):
    """This process."""

    def make(self, job: Job, places: Sequence[Place], on_written: Callable[[Place], None]) -> None:
        with job.settings.applied(), closing(job.write_parts(iter(places))) as finished_places:
            for place in finished_places:
                on_written(place)


@dataclass(frozen=True)
class Processes(Engine):
    """Several processes on this machine.

    Args:
        workers: Their number, at least 1.
    """

    workers: int

    def make(self, job: Job, places: Sequence[Place], on_written: Callable[[Place], None]) -> None:
        if places:
            _by_processes(job, places, min(self.workers, len(places)), on_written)


def _by_processes(job: Job, places: Sequence[Place], workers: int, on_written: Callable[[Place], None]) -> None:
    code = packed(job)
    context = multiprocessing.get_context("spawn")  # a fork would copy locks of threads that do not exist there
    processes: list[Any] = []
    connections: list[Connection] = []
    try:
        with _ctrl_c_later():  # processes that start here ignore Ctrl-C for good, so it ends this process only
            for _ in range(workers):
                ours, theirs = context.Pipe()
                processes.append(context.Process(target=work, args=(theirs,), daemon=True))
                connections.append(ours)
                processes[-1].start()
                theirs.close()
        coming = iter(places)
        expected: dict[Connection, int] = {}  # the parts that a process still makes
        for connection in connections:
            connection.send_bytes(code)
            # two, so that a process reads the pictures of its next part in time
            expected[connection] = sum(_sent(connection, next(coming, None)) for _ in range(2))
        missing, must_stop = len(places), interruption()
        while missing:
            # a process without another part ends, and so does its connection
            working = [connection for connection, count in expected.items() if count]
            for connection in _ready(working, None if must_stop is None else _PATIENCE):
                place = connection.recv()
                if isinstance(place, BaseException):
                    raise place
                on_written(place)
                missing -= 1
                expected[connection] -= 1
                if expected[connection]:
                    expected[connection] += _sent(connection, next(coming, None))
            if must_stop is not None and must_stop():
                raise Interrupted
    except (EOFError, OSError) as error:
        raise NetLensError(
            "a process of the survey ended before its work: it was killed, or memory ran out, or the program that "
            'starts the survey does so outside of `if __name__ == "__main__":`. Finished parts are kept; run it again.'
        ) from error
    finally:
        for process in processes:
            process.terminate()  # a part is written whole or not at all
        for process in processes:
            process.join()
        for connection in connections:
            connection.close()


def _sent(connection: Connection, place: Place | None) -> bool:
    """Send a process the place of its next part, or None if there is none. Returns whether there is one."""
    connection.send(place)
    return place is not None


def _ready(connections: Sequence[Connection], patience: float | None) -> list[Connection]:
    """The connections on which something has come, or that have ended."""
    return [connection for connection in wait(connections, patience) if isinstance(connection, Connection)]


def work(connection: Connection) -> None:
    """What a worker does: make the part of each place that it is sent, until it is sent None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = connection.recv_bytes()
        job = unpacked(code)
        with job.settings.applied():
            for place in job.write_parts(iter(connection.recv, None)):
                connection.send(place)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the survey has ended
    except BaseException as error:
        with suppress(OSError):  # the survey has ended, perhaps while it sent something
            connection.send(portable(error))


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Within the block, Ctrl-C waits, and processes that start never see it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

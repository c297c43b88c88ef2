"""A process of its own for each network, so that memory comes back and a crash is a row.

The processes are copies of one that has imported the library, so that they start at once.
"""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext

import torch

from benchmarks.matrix._collections import COLLECTIONS
from benchmarks.matrix._measure import measure
from benchmarks.matrix._row import Row
from netlens.flat import FlatModel

LIMIT = 900.0  # seconds for one network
GIGABYTE = 2**30


def rows_of(name: str, networks: Sequence[str], methods: Sequence[str], memory: float) -> Iterator[Row]:
    """The rows of some networks of a collection, one after the other.

    Args:
        name: The name of the collection.
        networks: The names of the networks.
        methods: The methods of attribution that run, too.
        memory: The gigabytes that one network may take.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*COLLECTIONS[name].modules, "benchmarks.matrix._measure"])
    for network in networks:
        yield _row(context, name, network, methods, memory)


def _row(context: ForkServerContext, name: str, network: str, methods: Sequence[str], memory: float) -> Row:
    family = next(subject.family for subject in COLLECTIONS[name].subjects() if subject.name == network)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, name, network, methods, memory), daemon=True)
    process.start()
    sender.close()
    try:
        if receiver.poll(LIMIT):
            return Row.from_json(receiver.recv())
        process.kill()
        return Row(network, family, refusal=f"it takes more than {LIMIT:.0f} seconds")
    except EOFError:
        process.join()
        return Row(network, family, refusal=f"the process ended with code {process.exitcode}")
    finally:
        receiver.close()
        process.join()


def _measure(sender: Connection, name: str, network: str, methods: Sequence[str], memory: float) -> None:
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (int(memory * GIGABYTE), resource.RLIM_INFINITY))
    FlatModel.from_nn_Module(torch.nn.Identity())  # finds the adapters, once per process
    subject = next(subject for subject in COLLECTIONS[name].subjects() if subject.name == network)
    row = measure(subject, methods)
    sender.send(row.to_json())

"""torchrun: the same program in several processes, on one machine or on several, of which each makes its share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from itertools import count
from typing import Any

from netlens.errors import NetLensError
from netlens.survey._engine import Engine
from netlens.survey._fingerprint import fingerprint
from netlens.survey._job import Job
from netlens.survey._parts import Place

_LONGEST = timedelta(days=30)
"""How long processes wait for each other. One that dies ends the waiting at once, because its connections close."""
_SURVEYS = count()
"""Numbers the surveys of this program, so that each meets under a name of its own."""


class TorchRun(Engine):
    """Processes that torchrun has started. Process r of n makes the shards r, r + n, r + 2n, ...

    They meet in a group that needs no GPU. A group that the program has set up stays as it is.

    Args:
        workers: Must be 0, because torchrun decides the number.

    Raises:
        NetLensError: `workers` is not 0, or torchrun has not started this process.
    """

    def __init__(self, workers: int) -> None:
        if workers:
            raise NetLensError("torchrun decides the number of processes (--nproc-per-node); leave workers=0.")
        try:
            self.rank, self.world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        except (KeyError, ValueError) as error:
            raise NetLensError(
                "engine='torchrun' needs a program that torchrun starts: torchrun --nproc-per-node 2 PROGRAM.py."
            ) from error
        self.group: Any = None

    @property
    def shows(self) -> bool:
        return self.rank == 0

    def __enter__(self) -> TorchRun:
        import torch.distributed as dist

        if dist.is_initialized():
            self.group = dist.new_group(backend="gloo", timeout=_LONGEST)
        else:
            store, rank, world = next(dist.rendezvous("env://", timeout=_LONGEST))
            named = dist.PrefixStore(f"netlens-survey-{next(_SURVEYS)}", store)
            dist.init_process_group("gloo", store=named, rank=rank, world_size=world, timeout=_LONGEST)
        return self

    def __exit__(self, *error: object) -> None:
        import torch.distributed as dist

        dist.destroy_process_group(self.group)
        self.group = None

    def share(self, places: Sequence[Place]) -> Sequence[Place]:
        import torch.distributed as dist

        mine = fingerprint([(str(place.path.resolve()), place.fingerprint) for place in places])
        fingerprints: list[Any] = [None] * self.world
        dist.all_gather_object(fingerprints, mine, self.group)
        if len({*fingerprints}) > 1:
            raise NetLensError(
                "the processes of torchrun do not ask the same: the network, the data, the questions, the folder of "
                "the parts or the kind of machine differ. Random weights need the same seed in each process."
            )
        return places[self.rank :: self.world]

    def make(self, job: Job, places: Sequence[Place], on_written: Callable[[Place], None]) -> None:
        with job.settings.applied(), closing(job.write_parts(iter(places))) as finished_places:
            for place in finished_places:
                on_written(place)

    def meet(self) -> None:
        import torch.distributed as dist

        try:
            dist.barrier(self.group)
        except RuntimeError as error:
            raise NetLensError(
                "another process of torchrun ended before its work. Finished parts are kept; run it again."
            ) from error

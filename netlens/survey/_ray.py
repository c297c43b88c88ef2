"""Ray: actors on a cluster, or on this machine, that Ray Data hands shards to."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch

from netlens.errors import NetLensError
from netlens.extras import extra
from netlens.flat.intake import weight_of
from netlens.interruption import Interrupted, interruption
from netlens.survey._engine import Engine
from netlens.survey._job import Job
from netlens.survey._packing import packed, portable, unpacked
from netlens.survey._parts import Place

_TOGETHER = 2
"""Shards of one task: while the network runs on the first, threads read the pictures of the second."""
_STORE = 2**28
"""Bytes for what is on its way, where Ray is started here: the parts, which are small."""


@dataclass(frozen=True)
class Ray(Engine):
    """Actors of Ray, each with the network. Parts come back as bytes, and this process writes them.

    So the folder of the parts may be seen by this process alone, and the data must be seen by all.

    Args:
        workers: The number of actors; 0 for as many as there are GPUs, or CPUs but one, in the cluster.
    """

    workers: int

    def make(self, job: Job, places: Sequence[Place], on_written: Callable[[Place], None]) -> None:
        if not places:
            return
        data = _imported()
        must_stop = interruption()
        with _cluster(self.workers) as ray:
            on_gpu = weight_of(job.network, torch.empty(0)).device.type == "cuda"
            work = ray.put((packed(job, ray.cloudpickle.dumps), list(places)))  # also classes of a notebook
            tasks = ceil(len(places) / _TOGETHER)
            shards = data.range(len(places), override_num_blocks=tasks)
            shards.context.enable_progress_bars = False
            dataset = shards.map_batches(
                _Maker,
                fn_args=([work],),  # in a list, so that an actor fetches it once, and not for each task
                batch_size=None,
                compute=data.ActorPoolStrategy(size=min(_actors(ray, self.workers, on_gpu), tasks)),
                num_cpus=1 if ray.cluster_resources().get("CPU", 1) > 1 else 0.5,
                num_gpus=1 if on_gpu else None,
            )
            for row in dataset.iter_rows():
                if row["error"]:
                    raise pickle.loads(row["error"])
                place = places[int(row["id"])]
                place.write_bytes(row["part"])
                on_written(place)
                if must_stop is not None and must_stop():
                    raise Interrupted


class _Maker:
    """An actor: it holds the network, and makes the parts of the shards that it is handed."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.places: list[Place] = []

    def __call__(self, batch: dict[str, Any], work: list[Any]) -> dict[str, Any]:
        ids = batch["id"].tolist()
        try:
            parts = self._parts(ids, work)
        except Exception as error:  # raised by the survey, and not by Ray, which would say much more
            return {"id": ids[:1], "part": [b""], "error": [pickle.dumps(portable(error))]}
        return {"id": ids, "part": parts, "error": [b""] * len(ids)}

    def _parts(self, ids: list[int], work: list[Any]) -> list[bytes]:
        if self.job is None:
            import ray

            code, self.places = ray.get(work[0])
            self.job = unpacked(code)
            self.job.settings.agree(weight_of(self.job.network, torch.empty(0)).device)
        places = iter([self.places[i] for i in ids])
        with self.job.settings.applied(), closing(self.job.make_parts(places)) as parts:
            return [place.pack(part) for place, part in parts]


def _imported() -> Any:
    with extra("ray", "engine='ray' needs Ray"):
        from ray import data
    return data


@contextmanager
def _cluster(workers: int) -> Iterator[Any]:
    """Ray, as it runs already, or on the cluster of RAY_ADDRESS; otherwise on this machine, for this survey."""
    import ray

    if ray.is_initialized():
        yield ray
        return
    logger = logging.getLogger("ray.data")
    before = logger.level
    here = not os.environ.get("RAY_ADDRESS")
    cpus = workers + 1 if workers else max(2, os.cpu_count() or 2)
    local = {"address": "local", "num_cpus": cpus, "object_store_memory": _STORE, "include_dashboard": False}
    # nothing is sent to anybody, and Ray's warnings about its own actors are not for the user
    with _environment({"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"} if here else {}):
        try:
            logger.setLevel(logging.ERROR)
            ray.init(**(local if here else {}), logging_level=logging.ERROR, log_to_driver=False)
            yield ray
        finally:
            ray.shutdown()
            logger.setLevel(before)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Within the block, the environment holds these values where it holds no others.

    What Ray changes of the process is undone as well: names in the environment, and what a signal to end does.
    """
    before, ended = dict(os.environ), signal.getsignal(signal.SIGTERM)
    os.environ.update({name: value for name, value in values.items() if name not in before})
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # no other thread may set it, and Ray's does not
            signal.signal(signal.SIGTERM, ended)
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _actors(ray: Any, workers: int, on_gpu: bool) -> int:
    """The number of actors. One core is left for Ray's own tasks: without it, a pool of actors waits forever."""
    there = ray.cluster_resources()
    most = int(there.get("GPU", 0)) if on_gpu else max(1, int(there.get("CPU", 1)) - 1)
    if most == 0:
        raise NetLensError("the network is on a GPU, but Ray knows of none; move the network to the CPU.")
    return min(workers, most) if workers else most

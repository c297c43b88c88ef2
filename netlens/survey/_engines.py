"""The engines by name."""

from __future__ import annotations

from netlens.survey._engine import Engine
from netlens.survey._processes import Here, Processes
from netlens.survey._ray import Ray
from netlens.survey._torchrun import TorchRun

ENGINES = ("process", "ray", "torchrun")


def engine_of(name: str, workers: int) -> Engine:
    """The engine of a name, with so many processes; 0 for this one, or for as many as a cluster holds.

    Raises:
        NetLensError: The library of the engine is missing, or the program was not started as the engine asks.
    """
    if name == "ray":
        return Ray(workers)
    if name == "torchrun":
        return TorchRun(workers)
    return Processes(workers) if workers else Here()

"""The networks of style transfers, opened with random numbers of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from netlens.flat import FlatModel

if TYPE_CHECKING:
    from netlens.visualization.style.jobs import Job

Opener = Callable[[str, str | None], FlatModel]
"""How networks are opened, by name and weights: such as `netlens.zoo.open_network`."""

_SEEDS = 2**64  # torch takes no more


class Network:
    """Opens the network of a job; the last one is kept while jobs need the same."""

    def __init__(self, opener: Opener) -> None:
        self.opener = opener
        self.key: tuple[str, str | None, int] | None = None
        self.flat: FlatModel | None = None

    def of(self, job: Job) -> FlatModel:
        """The network of a job; random weights come from the job's seed."""
        key = job.model, job.weights, job.transfer.seed
        if self.flat is None or key != self.key:
            self.flat = None  # one at a time in memory
            self.flat = seeded(self.opener, *key)
            self.key = key
        return self.flat


def seeded(opener: Opener, model: str, weights: str | None, seed: int) -> FlatModel:
    """Open a network with torch's global generator at a seed, and restore the generator."""
    with torch.random.fork_rng(devices=[]):
        # that of the CPU alone, which is the one that is put back
        torch.random.default_generator.manual_seed(seed % _SEEDS)
        return opener(model, weights)

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
    """The network of the job before, kept as long as the jobs want the same."""

    def __init__(self, opener: Opener) -> None:
        self.opener = opener
        self.asked: tuple[str, str | None, int] | None = None
        self.flat: FlatModel | None = None

    def of(self, job: Job) -> FlatModel:
        """That of a job, with its random numbers, if it has any, from the job's seed."""
        asked = job.model, job.weights, job.transfer.seed
        if self.flat is None or asked != self.asked:
            self.flat = None  # one at a time in memory
            self.flat = seeded(self.opener, *asked)
            self.asked = asked
        return self.flat


def seeded(opener: Opener, model: str, weights: str | None, seed: int) -> FlatModel:
    """A network opened with the global random numbers at a seed, and these then as they were."""
    with torch.random.fork_rng(devices=[]):
        # that of the CPU alone, which is the one that is put back
        torch.random.default_generator.manual_seed(seed % _SEEDS)
        return opener(model, weights)

"""The networks of a batch of style transfers. Random weights depend on the seed of the job."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from netlens.flat import FlatModel

if TYPE_CHECKING:
    from netlens.visualization.style._jobs import Job

Opener = Callable[[str, str], FlatModel]
"""A function from the name and the weights of a network to the network, such as `netlens.zoo.open_network`."""

_SEEDS = 2**64  # the number of seeds that torch supports


class Network:
    """Opens the network of a job. If the next job needs the same network, it is not opened again."""

    def __init__(self, opener: Opener) -> None:
        self.opener = opener
        self.key: tuple[str, str, int] | None = None
        self.flat: FlatModel | None = None

    def of(self, job: Job) -> FlatModel:
        """The network of a job. Random weights depend on the seed of the job."""
        key = job.model, job.weights, job.transfer.seed
        if self.flat is None or key != self.key:
            self.flat = None  # only one network is in memory
            self.flat = seeded(self.opener, *key)
            self.key = key
        return self.flat


def seeded(opener: Opener, model: str, weights: str, seed: int) -> FlatModel:
    """Open a network after a seed is set in torch's global generator. The generator is restored afterwards."""
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, because only the generator of the CPU is restored
        torch.random.default_generator.manual_seed(seed % _SEEDS)
        return opener(model, weights)

"""Chance: numbers that depend on a seed and the number of a sample alone, so that no cut of the work changes them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def chances(seed: int, samples: Sequence[int], n: int) -> Tensor:
    """(samples, n), float64: random numbers from 0 to below 1, by a hash of the seed and the sample.

    >>> bool((chances(0, [3, 5], 2)[1] == chances(0, [5], 2)[0]).all())
    True
    """
    rows = []
    for sample in samples:
        digest = hashlib.blake2b(f"{seed}/{sample}".encode(), digest_size=8 * n).digest()
        # the 53 bits that a float64 holds
        rows.append([(int.from_bytes(digest[8 * i : 8 * i + 8], "little") >> 11) / 2**53 for i in range(n)])
    return torch.tensor(rows, dtype=torch.float64).view(len(samples), n)


def vectors_at(maps: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
    """The activation (N, C) of maps (N, C, h, w) at one random place of each sample, and the places (N, 2).

    Args:
        maps: The maps.
        chance: (N, 2), from 0 to below 1: how far down and to the right the place lies.
    """
    height, width = maps.shape[2:]
    places = (chance * torch.tensor([height, width], dtype=torch.float64)).long()
    return maps[torch.arange(len(maps)), :, places[:, 0], places[:, 1]], places

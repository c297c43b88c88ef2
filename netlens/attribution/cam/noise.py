"""Noise that depends on its stream alone: not on chunks, the place in a batch, or torch's global state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def normal(stream: Sequence[int], shape: Sequence[int], like: Tensor) -> Tensor:
    """Standard normal numbers of the dtype and device of `like`; `stream` is the seed and what numbers its streams."""
    seed = np.random.SeedSequence(tuple(stream)).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(seed[0]))
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float64).to(like)

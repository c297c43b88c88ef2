"""Random draws that depend on the seed and the number of the draw, never on chunks or batches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def normal(x: Tensor, seed: int, *draw: int) -> Tensor:
    """Standard normal noise in the shape of one sample of x. Each draw has its own stream."""
    return torch.randn(x.shape[1:], generator=stream(seed, *draw), dtype=torch.float64).to(x)


def stream(*numbers: int) -> torch.Generator:
    """A generator whose random numbers depend on `numbers` alone."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def spans(x: Tensor) -> Tensor:
    """(N, 1, ...): the range (max - min) of each sample. A noise level is a share of this range."""
    return (x.flatten(1).amax(1) - x.flatten(1).amin(1)).view(-1, *[1] * (x.ndim - 1))

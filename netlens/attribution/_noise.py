"""Random draws that depend on the seed and the number of the draw, never on chunks or batches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from netlens.flat import FlatModel
from netlens.flat.bundle import input_of, with_input


def normal(x: Tensor, seed: int, *draw: int) -> Tensor:
    """Standard normal noise in the shape of one sample of x. Each draw has its own stream."""
    return torch.randn(x.shape[1:], generator=stream(seed, *draw), dtype=torch.float64).to(x)


def stream(*numbers: int) -> torch.Generator:
    """A generator whose random numbers depend on `numbers` alone."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def spans(flat: FlatModel, x: Tensor, wrt: str) -> Tensor:
    """(N, ...): the range (max - min) of each sample, which broadcasts to x. A noise level is a share of this range.

    Of several inputs, only the explained one has a range, so that the others get no noise.
    """
    values = input_of(flat, x, wrt)
    span = (values.flatten(1).amax(1) - values.flatten(1).amin(1)).view(-1, *[1] * (values.ndim - 1))
    return span if values is x else with_input(flat, torch.zeros_like(x), wrt, span.expand_as(values))

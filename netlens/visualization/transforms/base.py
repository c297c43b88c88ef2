"""What a transform is: a disturbance of each picture of a batch, drawn from that picture's own generator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from netlens.errors import NetLensError

Generators = Sequence[torch.Generator]
Size = tuple[int, int]


class Transform(ABC):
    """Abstract: disturbs pictures (N, C, H, W), each by its own generator on the CPU.

    So each sample is disturbed independently, and alike in whichever batch it is and on whichever device.
    """

    @abstractmethod
    def __call__(self, images: Tensor, generators: Generators) -> Tensor:
        """The disturbed pictures (N, C, h, w); differentiable."""


def uniform(generators: Generators, low: float, high: float) -> Tensor:
    """(N,) in float64: one number from each generator."""
    drawn = torch.stack([torch.rand((), generator=generator, dtype=torch.float64) for generator in generators])
    return low + (high - low) * drawn


def one_of(generators: Generators, n: int) -> list[int]:
    """A whole number from 0 to n - 1 from each generator."""
    return [int(torch.randint(n, (), generator=generator)) for generator in generators]


def check_range(transform: Transform, low: float, high: float) -> None:
    """Raise unless the range that a transform draws from goes from low to high."""
    if low > high:
        raise NetLensError(f"{type(transform).__name__}: low is {low}, but must be at most high, which is {high}.")


def check_batch(images: Tensor, generators: Generators) -> None:
    """Raise unless these are pictures with a generator each."""
    if images.ndim != 4 or len(images) != len(generators):
        shape = tuple(images.shape)
        raise NetLensError(f"a transform takes pictures (N, C, H, W) and N generators, not {shape}, {len(generators)}.")


def shaped(value: Any, shape: Sequence[int], what: str) -> Tensor:
    """Return what a user's function gave; raise unless it is a tensor of this shape, where -1 is any size above 0."""
    got = tuple(value.shape) if isinstance(value, Tensor) else ()
    if len(got) != len(shape) or any(a != b and not (b == -1 and a > 0) for a, b in zip(got, shape, strict=True)):
        shown = f"a tensor {got}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        wanted = ", ".join("any" if side == -1 else str(side) for side in shape)
        raise NetLensError(f"{what} gave {shown}; it must give a tensor ({wanted}).")
    tensor: Tensor = value
    return tensor

"""Transforms: random disturbances of pictures. Each picture of a batch has its own generator of random numbers."""

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
    """Abstract: disturbs pictures (N, C, H, W). Each picture has its own generator, on the CPU.

    So the disturbance of a picture does not depend on its batch or on its device.
    """

    @abstractmethod
    def __call__(self, images: Tensor, generators: Generators) -> Tensor:
        """The disturbed pictures (N, C, h, w). They must be differentiable."""


def uniform(generators: Generators, low: float, high: float) -> Tensor:
    """(N,) in float64: one number from each generator."""
    drawn = torch.stack([torch.rand((), generator=generator, dtype=torch.float64) for generator in generators])
    return low + (high - low) * drawn


def one_of(generators: Generators, n: int) -> list[int]:
    """A whole number from 0 to n - 1 for each generator."""
    return [int(torch.randint(n, (), generator=generator)) for generator in generators]


def check_range(transform: Transform, low: float, high: float) -> None:
    """Raise unless the range that a transform draws from goes from low to high."""
    if low > high:
        raise NetLensError(f"{type(transform).__name__}: low is {low}, but must be at most high, which is {high}.")


def check_batch(images: Tensor, generators: Generators) -> None:
    """Raise unless the images are pictures, with one generator for each picture."""
    if images.ndim != 4 or len(images) != len(generators):
        shape = tuple(images.shape)
        raise NetLensError(f"a transform takes pictures (N, C, H, W) and N generators, not {shape}, {len(generators)}.")


def shaped(value: Any, shape: Sequence[int], name: str) -> Tensor:
    """Return the result of a user's function. Raise if it is not a tensor of this shape; -1 means any size above 0."""
    actual = tuple(value.shape) if isinstance(value, Tensor) else ()
    if len(actual) != len(shape) or any(a != b and not (b == -1 and a > 0) for a, b in zip(actual, shape, strict=True)):
        shown = f"a tensor {actual}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        expected = ", ".join("any" if side == -1 else str(side) for side in shape)
        raise NetLensError(f"{name} gave {shown}; it must give a tensor ({expected}).")
    tensor: Tensor = value
    return tensor

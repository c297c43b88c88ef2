"""Written-out operations: a formula of several steps that is one layer, and the kinds that torch has no module for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netlens.flat.layers import Piece, Wrapper
from netlens.flat.meter import meters


class Written(Wrapper):
    """A layer that its network writes out in several steps: it runs these, and is known as what they compute.

    known: the layer that computes the same, up to rounding. parts: the steps, in order. reads: for each of them the
    numbers of the values that it reads, of which 0 is the input and i + 1 is what part i gives.
    """

    def __init__(self, known: nn.Module, parts: Sequence[nn.Module], reads: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.known = known
        self.parts = nn.ModuleList(parts)
        self.reads = tuple(tuple(numbers) for numbers in reads)

    @property
    def inner(self) -> nn.Module:
        return self.known

    def forward(self, input: Any) -> Any:
        values = [input]
        measuring = meters()
        for part, numbers in zip(self.parts, self.reads, strict=True):
            values.append(part(*(values[number] for number in numbers)))
            if len(values) <= len(self.parts):  # the last one is noted by who runs the layer
                for meter in measuring:
                    meter.note(values[-1], values[:-1])
        return values[-1]

    def extra_repr(self) -> str:
        return f"{len(self.parts)} steps"


class QuickGELU(nn.SiLU):
    """`x * sigmoid(beta * x)`, a SiLU of another steepness, which stands for GELU in CLIP."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, input: Tensor) -> Tensor:
        return input * torch.sigmoid(self.beta * input)

    def extra_repr(self) -> str:
        return f"beta={self.beta:g}"


class LogSumExp(Piece):
    """The logarithm of the sum of exponentials along one dimension."""

    def __init__(self, dim: int, keepdim: bool = True) -> None:
        super().__init__()
        self.dim, self.keepdim = dim, keepdim

    def forward(self, input: Tensor) -> Tensor:
        return input.logsumexp(self.dim, self.keepdim)


class Standardized(Piece):
    """`(x - mean) / sqrt(variance + eps)` over some dimensions: a layer norm along any of them, without weights."""

    def __init__(self, dims: tuple[int, ...], eps: float) -> None:
        super().__init__()
        self.dims, self.eps = dims, eps

    def forward(self, input: Tensor) -> Tensor:
        centered = input - input.mean(self.dims, keepdim=True)
        return centered / (centered.square().mean(self.dims, keepdim=True) + self.eps).sqrt()

    def extra_repr(self) -> str:
        return f"dims={self.dims}, eps={self.eps:g}"


class OfUnitSize(Piece):
    """`x / sqrt(mean of squares + eps)` over some dimensions: an RMS norm along any of them, without weights."""

    def __init__(self, dims: tuple[int, ...], eps: float) -> None:
        super().__init__()
        self.dims, self.eps = dims, eps

    def forward(self, input: Tensor) -> Tensor:
        return input / (input.square().mean(self.dims, keepdim=True) + self.eps).sqrt()

    def extra_repr(self) -> str:
        return f"dims={self.dims}, eps={self.eps:g}"


def to_rows(value: Tensor, dims: Sequence[int]) -> Tensor:
    """The values (..., D) of which every D lie along these dimensions."""
    return value.movedim(tuple(dims), _ends(dims)).flatten(-len(dims))


def from_rows(rows: Tensor, like: Tensor, dims: Sequence[int]) -> Tensor:
    """What `to_rows` made of a tensor shaped as `like`, in its own order again."""
    shape = like.movedim(tuple(dims), _ends(dims)).shape
    return rows.reshape(shape).movedim(_ends(dims), tuple(dims))


def _ends(dims: Sequence[int]) -> tuple[int, ...]:
    return tuple(range(-len(dims), 0))

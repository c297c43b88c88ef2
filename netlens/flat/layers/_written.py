"""Written-out operations: several steps as one layer, and layer types for formulas that have no module in torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netlens.flat.layers._calls import Piece, Wrapper
from netlens.flat.memory import meters


class Written(Wrapper):
    """A layer that its network writes out in several steps. It runs these steps; a search by type sees the usual layer.

    Args:
        equivalent: The usual layer, which computes the same up to rounding.
        parts: The layers of the steps, in order.
        reads: For each step, the indices of the values that it reads: 0 is the input, i + 1 is the output of step i.
    """

    def __init__(self, equivalent: nn.Module, parts: Sequence[nn.Module], reads: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.equivalent = equivalent
        self.parts = nn.ModuleList(parts)
        self.reads = tuple(tuple(indices) for indices in reads)

    @property
    def inner(self) -> nn.Module:
        return self.equivalent

    def forward(self, input: Any) -> Any:
        values = [input]
        active_meters = meters()
        for layer, indices in zip(self.parts, self.reads, strict=True):
            values.append(layer(*(values[index] for index in indices)))
            if len(values) <= len(self.parts):  # the run of the program itself measures the last value
                for meter in active_meters:
                    meter.note(values[-1], values[:-1])
        return values[-1]

    def extra_repr(self) -> str:
        return f"{len(self.parts)} steps"


class QuickGELU(nn.SiLU):
    """`x * sigmoid(beta * x)`: a SiLU with another slope. CLIP uses it in place of GELU.

    Example:
        >>> QuickGELU(1.702)(torch.zeros(1))
        tensor([0.])
    """

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
    """`(x - mean) / sqrt(variance + eps)` over the dimensions `dims`: a layer norm without weights."""

    def __init__(self, dims: tuple[int, ...], eps: float) -> None:
        super().__init__()
        self.dims, self.eps = dims, eps

    def forward(self, input: Tensor) -> Tensor:
        centered = input - input.mean(self.dims, keepdim=True)
        return centered / (centered.square().mean(self.dims, keepdim=True) + self.eps).sqrt()

    def extra_repr(self) -> str:
        return f"dims={self.dims}, eps={self.eps:g}"


class OfUnitSize(Piece):
    """`x / sqrt(mean of squares + eps)` over the dimensions `dims`: an RMS norm without weights."""

    def __init__(self, dims: tuple[int, ...], eps: float) -> None:
        super().__init__()
        self.dims, self.eps = dims, eps

    def forward(self, input: Tensor) -> Tensor:
        return input / (input.square().mean(self.dims, keepdim=True) + self.eps).sqrt()

    def extra_repr(self) -> str:
        return f"dims={self.dims}, eps={self.eps:g}"


def to_rows(value: Tensor, dims: Sequence[int]) -> Tensor:
    """Move the dimensions `dims` to the end and flatten them to one. The result has the shape (..., D).

    Example:
        >>> to_rows(torch.zeros(2, 3, 4, 5), (1, 3)).shape
        torch.Size([2, 4, 15])
    """
    return value.movedim(tuple(dims), _last_dims(dims)).flatten(-len(dims))


def from_rows(rows: Tensor, like: Tensor, dims: Sequence[int]) -> Tensor:
    """The inverse of `to_rows`: a tensor with the shape of `like`."""
    shape = like.movedim(tuple(dims), _last_dims(dims)).shape
    return rows.reshape(shape).movedim(_last_dims(dims), tuple(dims))


def _last_dims(dims: Sequence[int]) -> tuple[int, ...]:
    return tuple(range(-len(dims), 0))

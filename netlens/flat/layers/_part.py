"""One of several inputs, taken out of the tensor that holds them all."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn


class Part(nn.Module):
    """The columns of a tensor (N, columns) that hold one input (N, *shape), in its own shape and type.

    Args:
        start: The first column.
        shape: The shape of one sample of the input.
        dtype: The type of the input.
        layout: The layout of the input (see `netlens.flat.layout`).

    Example:
        >>> Part(1, (2, 2), torch.float32)(torch.arange(6.0)[None])
        tensor([[[1., 2.],
                 [3., 4.]]])
    """

    def __init__(self, start: int, shape: Sequence[int], dtype: torch.dtype, layout: Any = None) -> None:
        super().__init__()
        self.start, self.shape, self.dtype, self.layout = start, tuple(shape), dtype, layout

    @property
    def columns(self) -> slice:
        """Where the input lies."""
        return slice(self.start, self.start + prod(self.shape))

    def forward(self, packed: Tensor) -> Tensor:
        # a network may ask for one block of memory, so views of columns do not do
        values = packed[:, self.columns].reshape(-1, *self.shape).contiguous()
        return values if values.dtype == self.dtype or self.dtype.is_floating_point else values.round().to(self.dtype)

    def extra_repr(self) -> str:
        return f"{self.columns.start}:{self.columns.stop} as {self.shape}"

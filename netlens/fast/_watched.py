"""Watched weights: have weights changed since a copy of them was made?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import zip_longest

import torch
from torch import Tensor, nn

from netlens.flat.layers import Computed
from netlens.precision import widest

BLOCK = 2**16
"""The number of weights in one sum. It is small, so that the coefficients of the sum stay in the cache."""
FEW = 2**12
"""Tensors with fewer numbers, such as biases, share one sum."""


class Watched:
    """The parameters and buffers of some layers, with a fingerprint of their values.

    Torch counts in-place changes of a tensor, but not changes through `weight.data`. So the fingerprint also holds
    weighted sums of the values. Each position has its own coefficient, so that a swap of two values changes the sum. A
    change below the rounding error of a sum remains unnoticed. The sums take one pass over the weights.

    Args:
        layers: The layers.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.layers = layers
        self.tensors = list(_tensors(layers))
        # torch does not count changes of tensors that were made in inference mode
        self.countable = not any(tensor.is_inference() for tensor in self.tensors)
        if self.countable:
            self.versions = self._versions()
            self.groups = [_SummedGroup(group) for group in _groups(self.tensors)]
            self.sums = [group.sums() for group in self.groups]

    def changed(self) -> bool:
        """Whether a tensor was replaced or has other values. It is also True if torch cannot count the changes."""
        if not self.countable or any(new is not old for new, old in zip_longest(_tensors(self.layers), self.tensors)):
            return True
        if self._versions() != self.versions:
            return True
        return not all(torch.equal(group.sums(), sums) for group, sums in zip(self.groups, self.sums, strict=True))

    def _versions(self) -> list[tuple[int, int]]:
        return [(tensor.data_ptr(), tensor._version) for tensor in self.tensors]


class _SummedGroup:
    """Tensors of one type on one device, divided into blocks with one sum each. The blocks are views of the tensors."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.rows: list[Tensor] = []  # (n, BLOCK)
        self.tails: list[Tensor] = []  # (n,)
        self.small: list[Tensor] = []
        for tensor in tensors:
            real = torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
            values = _flat_view(real)
            if values is None or len(values) < FEW:
                self.small.append(real)
                continue
            end_of_rows = len(values) // BLOCK * BLOCK
            if end_of_rows:
                self.rows.append(values[:end_of_rows].view(-1, BLOCK))
            if end_of_rows < len(values):
                self.tails.append(values[end_of_rows:])

    @torch.no_grad()
    def sums(self) -> Tensor:
        """The sums (n,) of all blocks."""
        small = [torch.cat([values.reshape(-1) for values in self.small])] if self.small else []
        with torch.autocast((small or self.rows or self.tails)[0].device.type, enabled=False):
            # `map` is lazy: only one wide copy of a tensor in half precision exists at a time
            sums = [torch.dot(values, _coefficients(values)) for values in map(_widened, (*self.tails, *small))]
            row_sums = [values @ _coefficients(values) for values in map(_widened, self.rows)]
        return torch.cat([*row_sums, torch.stack(sums)] if sums else row_sums)


def _tensors(layers: Sequence[nn.Module]) -> Iterator[Tensor]:
    parts = (part for layer in layers for part in (layer.modules() if isinstance(layer, Computed) else (layer,)))
    for layer in parts:
        for tensor in (*layer._parameters.values(), *layer._buffers.values()):
            if tensor is not None:
                yield tensor


def _groups(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """The tensors of real or complex numbers, grouped by device and type."""
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in tensors:
        if tensor.numel() and (tensor.is_floating_point() or tensor.is_complex()):
            groups.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    return list(groups.values())


def _flat_view(tensor: Tensor) -> Tensor | None:
    """A view (n,) of all values in the order of their addresses; None if there are gaps between them."""
    dense = tensor.permute(sorted(range(tensor.ndim), key=tensor.stride, reverse=True))
    return dense.view(-1) if dense.is_contiguous() else None


def _widened(values: Tensor) -> Tensor:
    return values if values.dtype in (torch.float32, torch.float64) else values.to(widest(values.device))


def _coefficients(values: Tensor) -> Tensor:
    return _sines(values.shape[-1], values.dtype, values.device)


@lru_cache(maxsize=512)
def _sines(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.sin(torch.arange(1, count + 1, dtype=torch.float64)).to(device, dtype)  # all are different

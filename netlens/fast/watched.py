"""Weights that are watched: whether a network's own have changed since copies of them were made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import zip_longest

import torch
from torch import Tensor, nn

from netlens.flat.precision import widest

BLOCK = 2**16
"""How many weights make one sum: few enough that the numbers of their places stay at hand."""
FEW = 2**12
"""Tensors of fewer numbers, such as biases, are summed together."""


class Watched:
    """The parameters and buffers of some layers, as they were when this was made.

    Torch counts changes in place, but not those through `weight.data`. Sums of values, each times a number of its
    place, see these too, and values that only changed places, but not what is lost in the rounding of a sum; they are
    one pass over the weights.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.layers = layers
        self.tensors = list(_held(layers))
        # torch counts no changes of tensors made in inference mode
        self.known = not any(tensor.is_inference() for tensor in self.tensors)
        if self.known:
            self.marks = self._marks()
            self.parts = [_Parts(alike) for alike in _alike(self.tensors)]
            self.sums = [parts.sums() for parts in self.parts]

    def changed(self) -> bool:
        """Whether any is another or has other values, or may have."""
        if not self.known or any(now is not then for now, then in zip_longest(_held(self.layers), self.tensors)):
            return True
        if self._marks() != self.marks:
            return True
        return not all(torch.equal(parts.sums(), then) for parts, then in zip(self.parts, self.sums, strict=True))

    def _marks(self) -> list[tuple[int, int]]:
        return [(tensor.data_ptr(), tensor._version) for tensor in self.tensors]


class _Parts:
    """Tensors of one type on one device, in parts that are summed at once; views, which see what becomes of them."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.rows: list[Tensor] = []  # (n, BLOCK)
        self.single: list[Tensor] = []  # (n,)
        self.few: list[Tensor] = []
        for tensor in tensors:
            real = torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
            values = _line(real)
            if values is None or len(values) < FEW:
                self.few.append(real)
                continue
            whole = len(values) // BLOCK * BLOCK
            if whole:
                self.rows.append(values[:whole].view(-1, BLOCK))
            if whole < len(values):
                self.single.append(values[whole:])

    @torch.no_grad()
    def sums(self) -> Tensor:
        """(n,): the sums, which differ once a value does by more than their rounding."""
        few = [torch.cat([values.reshape(-1) for values in self.few])] if self.few else []
        with torch.autocast((few or self.rows or self.single)[0].device.type, enabled=False):
            # one after the other, for half precision is copied to be summed
            sums = [torch.dot(values, _places(values)) for values in map(_real, (*self.single, *few))]
            several = [values @ _places(values) for values in map(_real, self.rows)]
        return torch.cat([*several, torch.stack(sums)] if sums else several)


def _held(layers: Sequence[nn.Module]) -> Iterator[Tensor]:
    for layer in layers:
        for tensor in (*layer._parameters.values(), *layer._buffers.values()):
            if tensor is not None:
                yield tensor


def _alike(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    found: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in tensors:
        if tensor.numel() and (tensor.is_floating_point() or tensor.is_complex()):
            found.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    return list(found.values())


def _line(tensor: Tensor) -> Tensor | None:
    """A view (n,) of all values in the order in which they lie in memory; None if there are gaps between them."""
    dense = tensor.permute(sorted(range(tensor.ndim), key=tensor.stride, reverse=True))
    return dense.view(-1) if dense.is_contiguous() else None


def _real(values: Tensor) -> Tensor:
    return values if values.dtype in (torch.float32, torch.float64) else values.to(widest(values.device))


def _places(values: Tensor) -> Tensor:
    return _numbers(values.shape[-1], values.dtype, values.device)


@lru_cache(maxsize=512)
def _numbers(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.sin(torch.arange(1, count + 1, dtype=torch.float64)).to(device, dtype)  # no two alike

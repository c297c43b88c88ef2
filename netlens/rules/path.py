"""The rule for any layer: its own gradient, averaged over the straight way from the reference to the input.

On a piece of the way the change of what follows is known, so that it shows what the average misses there; where it
misses most, the piece is halved. What no halving finds (a jump, a choice by indices) is said, and not hidden.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netlens.flat.bound import Bound
from netlens.flat.precision import widest
from netlens.flat.rules import is_differentiable, vjp
from netlens.rules.calls import tensors

PLACES = 32
TOLERANCE = 1e-9
"""Of the change: what may be missed without another look, where the type of the numbers holds as many digits."""
SMALL = 0.01
"""Of the change: what is left of a way with many kinks, and may be shared among all that changes."""
FEW, MANY = 8, 40
"""How often a piece is halved: until little is missed, and until nothing more is to be found."""


class Estimated(list[Tensor | None]):
    """The multipliers of a layer's inputs, and what they miss of its change: by row where all have as many, else once.

    A gap of None says that the change is unknown, as the output has another shape on the baseline.
    """

    def __init__(self, multipliers: Iterable[Tensor | None], gap: Tensor | None) -> None:
        super().__init__(multipliers)
        self.gap = gap


def mean_gradient(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Any, places: int = PLACES
) -> list[Tensor | None]:
    """The mean of the true gradients on the straight path from the reference to the inputs, all of them together.

    By the quadrature of Gauss and Legendre: exact for polynomials of degree 2 * `places`, and near for what is smooth.
    """
    return _Way(layer, inputs, reference, gradient, lambda x, r: x.requires_grad).integral(0, 1, places)


def along_path(layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Any) -> Estimated:
    """As `mean_gradient`, refined until no more than `TOLERANCE` of the change is missed.

    Layers may have several outputs, and read masks and indices, which stay those of the input all the way. What is
    left, if it is `SMALL`, is shared in proportion to the changes of the inputs.
    """
    return _Refined(layer, inputs, reference, gradient, _changes).estimated()


def _changes(x: Tensor, r: Tensor) -> bool:
    return x.requires_grad or (is_differentiable(x) and not torch.equal(x, r))


@dataclass
class _Way:
    """The way of a layer from what it read on the baseline to its inputs; `moves` says whose gradients are taken."""

    layer: nn.Module
    end: Sequence[Tensor]
    reference: Sequence[Any]
    gradient: Any
    moves: Callable[[Tensor, Tensor], bool]

    @cached_property
    def start(self) -> list[Tensor]:
        return tensors(self.reference)

    @cached_property
    def moving(self) -> list[bool]:
        return [self.moves(x, r) for x, r in zip(self.end, self.start, strict=True)]

    def at(self, place: float) -> list[Tensor]:
        ends = zip(self.end, self.start, self.moving, strict=True)
        return [_between(x, r, place).requires_grad_(moves) for x, r, moves in ends]

    def integral(self, a: float, b: float, places: int) -> list[Tensor | None]:
        """The gradients, integrated from a to b."""
        total: list[Tensor | None] = [None] * len(self.end)
        with torch.enable_grad():
            for place, weight in zip(*np.polynomial.legendre.leggauss(places), strict=True):
                points = self.at(a + (b - a) * (1 + float(place)) / 2)
                output = self.layer(*points)
                if not any(part.requires_grad for part in tensors([output])):  # nothing of it depends on what moves
                    break
                for i, part in enumerate(vjp(output, points, _typed(self.gradient, output))):
                    if part is not None:
                        part, before = part * ((b - a) * float(weight) / 2), total[i]
                        total[i] = part if before is None else before + part
        # where nothing changes there may be no slope: that of a root at 0
        return [
            None if part is None else torch.where((x == r) & ~part.isfinite(), 0, part)
            for part, x, r in zip(total, self.end, self.start, strict=True)
        ]


@dataclass
class _Piece:
    """The way from a to b: the values of what follows at both, the integral of the gradients, and what that misses."""

    a: float
    b: float
    low: Tensor
    high: Tensor
    parts: list[Tensor | None]
    missed: Tensor


class _Refined(_Way):
    """A way in pieces, as many as it takes."""

    def estimated(self) -> Estimated:
        last, first = self.outputs(self.layer, self.end), self.outputs(self.layer, self.at(0))
        low, high = self.value(first), self.value(last)
        # masks, indices and numbers are those of the input; on the baseline itself they may be others
        unbound = self.layer.layer if isinstance(self.layer, Bound) else self.layer
        before = self.outputs(unbound, self.reference)
        if [part.shape for part in before] != [part.shape for part in last]:
            return Estimated(self.kept(self.integral(0, 1, PLACES)), None)
        self.measure(last, before)
        found, missed = self.refined(low, high)
        missed = missed + (low - self.value(before))
        changes = self.changes(found)
        size = sum((self.by_row(_paired(own, own)) for own in changes if own is not None), self.zeros)
        small = (missed.abs() > self.rounding) & (missed.abs() <= SMALL * self.scale) & (size > 0)
        if small.any():
            found = self.with_share(found, changes, torch.where(small, missed / size, 0))
        return Estimated(self.kept(found), torch.where((missed.abs() > self.rounding) & ~small, missed, 0))

    def refined(self, low: Tensor, high: Tensor) -> tuple[list[Tensor | None], Tensor]:
        """The integral of the whole way, and what it misses, once the pieces that missed most have been halved."""
        whole = self.piece(0, 1, PLACES, low, high)
        total, missed = [None if part is None else part * 0 for part in whole.parts], self.zeros
        queue, numbers = [(0.0, 0, whole)], iter(range(1, 2 * MANY + 1))
        left = whole.missed
        # no slope anywhere: a function in steps, or a constant
        flat = all(part is None or not part.any() for part in whole.parts)
        for count in range(MANY):
            if flat or not queue or self.done(left + missed, SMALL * self.scale if count >= FEW else self.tolerance):
                break
            _, _, piece = heapq.heappop(queue)
            middle = (piece.a + piece.b) / 2
            value = self.value(self.outputs(self.layer, self.at(middle)))
            left = left - piece.missed
            for a, b, start, end in (piece.a, middle, piece.low, value), (middle, piece.b, value, piece.high):
                half = self.piece(a, b, PLACES // 2, start, end)
                if (half.missed.abs() <= self.tolerance / MANY).all():  # settled: its gradients need not be kept apart
                    total, missed = _summed(total, half.parts), missed + half.missed
                else:
                    left = left + half.missed
                    heapq.heappush(queue, (-float(half.missed.abs().sum()), next(numbers), half))
        for _, _, piece in queue:
            total, missed = _summed(total, piece.parts), missed + piece.missed
        mixed = bool((missed.abs() > self.tolerance).any()) and self.together(missed)
        return total, torch.zeros_like(missed) if mixed else missed

    def done(self, missed: Tensor, allowed: Tensor) -> bool:
        """Whether no row misses more; NaN is past mending."""
        return bool((missed.abs() <= allowed).all() | ~missed.isfinite().all()) or self.together(missed)

    def together(self, missed: Tensor) -> bool:
        """Whether rows that miss something miss nothing together: then they are no samples."""
        return bool(missed.sum().abs() <= self.tolerance.sum() / 10)

    def piece(self, a: float, b: float, places: int, low: Tensor, high: Tensor) -> _Piece:
        parts = self.integral(a, b, places)
        got = self.zeros
        for part, change in zip(parts, self.changes(parts), strict=True):
            if part is not None and change is not None:
                got = got + self.by_row(_paired(part, change))
        return _Piece(a, b, low, high, parts, high - low - got)

    def outputs(self, layer: nn.Module, reads: Sequence[Any]) -> list[Tensor]:
        """The outputs of the layer that have a gradient."""
        with torch.no_grad():
            output = pytree.tree_leaves(layer(*reads))
        return [part for at, part in zip(self.ends, output, strict=True) if at is not None]

    def value(self, outputs: Sequence[Tensor]) -> Tensor:
        """The gradient times the outputs, by row."""
        pairs = zip(self.known, outputs, strict=True)
        return sum((self.by_row(_paired(at, part)) for at, part in pairs), self.zeros)

    def measure(self, after: Sequence[Tensor], before: Sequence[Tensor]) -> None:
        """How large the change is, by row, and what of it may be missed, also by the rounding of what changes."""
        self.scale, values = self.zeros, self.zeros
        for at, new, old in zip(self.known, after, before, strict=True):
            self.scale = self.scale + self.by_row(_paired(at, new - old).abs())
            values = values + self.by_row(_paired(at, new).abs() + _paired(at, old).abs())
        eps = max(torch.finfo(at.dtype).eps for at in self.known)
        self.rounding = 16 * eps * (4 * self.scale + values)
        self.tolerance = TOLERANCE * self.scale + self.rounding

    def changes(self, parts: Sequence[Tensor | None]) -> list[Tensor | None]:
        """How the inputs that have a gradient change."""
        ends = zip(parts, self.end, self.start, strict=True)
        return [None if part is None else torch.where(x == r, 0, x - r) for part, x, r in ends]

    def with_share(
        self, found: Sequence[Tensor | None], changes: Sequence[Tensor | None], rate: Tensor
    ) -> list[Tensor | None]:
        """With the changes of the inputs, each row times its rate, added to their multipliers."""
        return [
            None if part is None or own is None else part + own * _along(rate, own)
            for part, own in zip(found, changes, strict=True)
        ]

    def kept(self, found: Sequence[Tensor | None]) -> list[Tensor | None]:
        return [part if x.requires_grad else None for part, x in zip(found, self.end, strict=True)]

    @cached_property
    def ends(self) -> list[Tensor | None]:
        return pytree.tree_leaves(self.gradient)

    @cached_property
    def known(self) -> list[Tensor]:
        return [at for at in self.ends if at is not None]

    @cached_property
    def rows(self) -> int:
        """How many rows all that changes has, if it is as many for all, else 1."""
        values = [x for x, moves in zip(self.end, self.moving, strict=True) if moves] + self.known
        counts = {len(value) if value.ndim else 1 for value in values}
        return counts.pop() if len(counts) == 1 else 1

    @property
    def zeros(self) -> Tensor:
        device = self.known[0].device
        return torch.zeros(self.rows, dtype=widest(device), device=device)

    def by_row(self, values: Tensor) -> Tensor:
        return values.reshape(self.rows, -1).sum(1, dtype=self.zeros.dtype)


def _between(x: Tensor, r: Tensor, share: float) -> Tensor:
    if not is_differentiable(x):  # a mask or an index has no way between
        return x.detach()
    # where both are -inf, under a mask, so is everything between
    return torch.where(x == r, x, r + share * (x - r) if share < 1 else x).detach()


def _paired(gradient: Tensor, change: Tensor) -> Tensor:
    """What a gradient says of a change, element by element; of complex numbers as of their two parts."""
    product = (gradient.conj() * change).real if change.is_complex() or gradient.is_complex() else gradient * change
    return torch.where(gradient == 0, 0, product)  # of infinity, too


def _typed(gradient: Any, output: Any) -> Any:
    """The gradient in the type of an output, which half precision may compute in another."""
    return pytree.tree_map(lambda at, part: None if at is None else at.to(part.dtype), gradient, output)


def _along(rate: Tensor, values: Tensor) -> Tensor:
    """A rate for each row, in the shape of the values."""
    return rate.to(values.real.dtype).view(-1, *[1] * (values.ndim - 1)) if values.ndim else rate.to(values.dtype)[0]


def _summed(total: Sequence[Tensor | None], parts: Sequence[Tensor | None]) -> list[Tensor | None]:
    pairs = zip(total, parts, strict=True)
    return [part if before is None else before if part is None else before + part for before, part in pairs]

"""The rule for any layer: its gradient, averaged over the straight path from the reference to the input.

On each piece of the path, the change of the output is known. It shows what the average misses there. The piece that
misses most is halved. A part of the change that no halving finds (a jump, a choice by indices) is reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netlens.flat.layers import Bound
from netlens.flat.rules import is_differentiable
from netlens.precision import widest
from netlens.rules._way import PLACES, Share, Way, along_rows

TOLERANCE = 1e-9
"""The share of the change that may be missed without refinement, if the type of the numbers has enough digits."""
SMALL = 0.01
"""The share of the change that may be missed on a path with many kinks. It is shared among all inputs that change."""
FEW, MANY = 8, 40
"""How often pieces are halved to reach the tolerance, and how often to reach a small gap."""


class Estimated(list[Tensor | None]):
    """The multipliers of the inputs of a layer, and the change that they miss.

    The gap has one number per row if all tensors have the same number of rows, else one number. A gap of None means
    that the change is unknown, because the output has another shape on the baseline.
    """

    def __init__(self, multipliers: Iterable[Tensor | None], gap: Tensor | None) -> None:
        super().__init__(multipliers)
        self.gap = gap


def along_path(layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Any) -> Estimated:
    """The mean gradient, refined until it misses at most the share `TOLERANCE` of the change.

    Layers may have several outputs, and may read masks and indices. These keep their values on the input along the
    whole path. A rest of at most `SMALL` is shared in proportion to the changes of the inputs.
    """
    return _Refined(layer, inputs, reference, gradient, _changes).estimated()


def _changes(x: Tensor, r: Tensor) -> bool:
    return x.requires_grad or (is_differentiable(x) and not torch.equal(x, r))


@dataclass
class _Piece:
    """A piece of the path, from a to b, which differ by row.

    It holds the values of the output at both ends, the integral of the gradients, and the change that the integral
    misses.
    """

    a: Tensor
    b: Tensor
    low: Tensor
    high: Tensor
    parts: list[Tensor | None]
    missed: Tensor

    def replaced(self, rows: Tensor, other: _Piece) -> _Piece:
        """This piece with these rows (a mask) of another piece."""
        ends = zip((self.a, self.b, self.low, self.high), (other.a, other.b, other.low, other.high), strict=True)
        parts = [_either(rows, new, own) for own, new in zip(self.parts, other.parts, strict=True)]
        a, b, low, high = (torch.where(rows, new, own) for own, new in ends)
        return _Piece(a, b, low, high, parts, torch.where(rows, other.missed, self.missed))


class _Refined(Way):
    """A path that is divided into as many pieces as it needs."""

    scale: Tensor
    rounding: Tensor
    tolerance: Tensor

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
        missed = missed + (self.value(first) - self.value(before))
        changes = self.changes(found)
        size = sum((self.by_row(_paired(own, own)) for own in changes if own is not None), self.zeros)
        small = (missed.abs() > self.rounding) & (missed.abs() <= SMALL * self.scale) & (size > 0)
        if small.any():
            found = self.with_share(found, changes, torch.where(small, missed / size, 0))
        return Estimated(self.kept(found), torch.where((missed.abs() > self.rounding) & ~small, missed, 0))

    def refined(self, low: Tensor, high: Tensor) -> tuple[list[Tensor | None], Tensor]:
        """The integral of the whole path after the refinement, and the change that it misses.

        Each row has its own pieces, so that the values of a sample do not depend on its batch.
        """
        whole = self.piece(0.0, 1.0, PLACES, low, high)
        if (whole.missed.abs() <= self.tolerance).all():
            return whole.parts, whole.missed
        if self.mix(low, high):
            self.gather()
            whole = replace(whole, low=low.sum(0, True), high=high.sum(0, True), missed=whole.missed.sum(0, True))
        whole = replace(whole, a=self.zeros, b=self.zeros + 1)
        pieces, missed = [whole], whole.missed
        for count in range(MANY):
            allowed = SMALL * self.scale if count >= FEW else self.tolerance
            left = (missed.abs() > allowed) & missed.isfinite()  # refinement does not help NaN
            if count >= 2 * FEW:
                left &= self.slopes(pieces)
            if not left.any():
                break
            pieces = self.halved(pieces, left)
            missed = torch.stack([piece.missed for piece in pieces]).sum(0)
        total = pieces[0].parts
        for piece in pieces[1:]:
            total = [_plus(own, part) for own, part in zip(total, piece.parts, strict=True)]
        return total, missed

    def slopes(self, pieces: Sequence[_Piece]) -> Tensor:
        """The rows (a mask) with a slope anywhere. Without one, the function has steps only."""
        found = self.zeros > 0
        for part in (part for piece in pieces for part in piece.parts if part is not None):
            found |= self.by_row(part.abs()) > 0
        return found

    def halved(self, pieces: list[_Piece], rows: Tensor) -> list[_Piece]:
        """The pieces after the one that misses most is halved, in each of these rows."""
        worst = torch.stack([piece.missed.abs() for piece in pieces]).argmax(0)
        chosen = pieces[0]
        for place, piece in enumerate(pieces[1:], 1):
            chosen = chosen.replaced(worst == place, piece)
        middle = (chosen.a + chosen.b) / 2
        value = self.value(self.outputs(self.layer, self.at(middle)))
        lower = self.piece(chosen.a, middle, PLACES // 2, chosen.low, value)
        upper = self.piece(middle, chosen.b, PLACES // 2, value, chosen.high)
        nothing = [None if part is None else torch.zeros_like(part) for part in upper.parts]
        none = _Piece(self.zeros, self.zeros, self.zeros, self.zeros, nothing, self.zeros)
        kept = [piece.replaced((worst == place) & rows, lower) for place, piece in enumerate(pieces)]
        return [*kept, none.replaced(rows, upper)]

    def mix(self, low: Tensor, high: Tensor) -> bool:
        """Whether rows affect each other, because they are not samples. A run with every second row moved shows it."""
        if self.rows == 1:
            return False
        odd = torch.arange(self.rows, device=low.device) % 2
        found = self.value(self.outputs(self.layer, self.at(odd.to(low.dtype))))
        return bool(((found - torch.where(odd == 1, high, low)).abs() > self.tolerance).any())

    def gather(self) -> None:
        """Treat all rows as one row from now on."""
        self.rows = 1
        self.scale, self.rounding, self.tolerance = (
            value.sum(0, True) for value in (self.scale, self.rounding, self.tolerance)
        )

    def piece(self, a: Share, b: Share, places: int, low: Tensor, high: Tensor) -> _Piece:
        parts = self.integral(a, b, places)
        got = self.zeros
        for part, change in zip(parts, self.changes(parts), strict=True):
            if part is not None and change is not None:
                got = got + self.by_row(_paired(part, change))
        return _Piece(self.zeros + a, self.zeros + b, low, high, parts, high - low - got)

    def outputs(self, layer: nn.Module, reads: Sequence[Any]) -> list[Tensor]:
        """The outputs of the layer that have a gradient."""
        with torch.no_grad():
            output = pytree.tree_leaves(layer(*reads))
        if len(output) != len(self.ends):  # on the baseline a layer may give another number of tensors
            return []
        return [part for at, part in zip(self.ends, output, strict=True) if at is not None]

    def value(self, outputs: Sequence[Tensor]) -> Tensor:
        """The gradient times the outputs, by row."""
        pairs = zip(self.known, outputs, strict=True)
        return sum((self.by_row(_paired(at, part)) for at, part in pairs), self.zeros)

    def measure(self, after: Sequence[Tensor], before: Sequence[Tensor]) -> None:
        """Set the size of the change by row, and the parts of it that may be missed, by tolerance and by rounding."""
        self.scale, values = self.zeros, self.zeros
        for at, new, old in zip(self.known, after, before, strict=True):
            self.scale = self.scale + self.by_row(_paired(at, new - old).abs())
            values = values + self.by_row(_paired(at, new).abs() + _paired(at, old).abs())
        eps = max(torch.finfo(at.dtype).eps for at in self.known)
        self.rounding = 16 * eps * (4 * self.scale + values)
        self.tolerance = TOLERANCE * self.scale + self.rounding

    def changes(self, parts: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The changes of the inputs that have a gradient."""
        ends = zip(parts, self.end, self.start, strict=True)
        return [None if part is None else torch.where(x == r, 0, x - r) for part, x, r in ends]

    def with_share(
        self, found: Sequence[Tensor | None], changes: Sequence[Tensor | None], rate: Tensor
    ) -> list[Tensor | None]:
        """The multipliers plus the changes of the inputs, each row times its rate."""
        return [
            None if part is None or own is None else part + own * along_rows(rate, own)
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
        """The number of rows of the tensors that change if it is the same for all, else 1."""
        values = [x for x, moves in zip(self.end, self.moving, strict=True) if moves] + self.known
        counts = {len(value) if value.ndim else 1 for value in values}
        return counts.pop() if len(counts) == 1 and all(value.numel() for value in values) else 1

    @property
    def zeros(self) -> Tensor:
        device = self.known[0].device
        return torch.zeros(self.rows, dtype=widest(device), device=device)

    def by_row(self, values: Tensor) -> Tensor:
        return values.reshape(self.rows, -1).sum(1, dtype=self.zeros.dtype)


def _plus(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one + other


def _either(rows: Tensor, new: Tensor | None, own: Tensor | None) -> Tensor | None:
    """The new values in these rows, the old values elsewhere. None if there are neither."""
    known = own if own is not None else new
    if known is None:
        return None
    return torch.where(along_rows(rows, known), 0 if new is None else new, 0 if own is None else own)


def _paired(gradient: Tensor, change: Tensor) -> Tensor:
    """The gradient times the change, element by element. Complex numbers count as their two real parts."""
    product = (gradient.conj() * change).real if change.is_complex() or gradient.is_complex() else gradient * change
    return torch.where(gradient == 0, 0, product)  # also for an infinite change

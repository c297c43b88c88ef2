"""The rule for any layer: its gradient, averaged over the straight path from the reference to the input.

On each segment of the path, the change of the output is known. The integral of the gradient should equal it; the
difference is what the segment misses. The segment that misses most is halved, again and again. A change that no halving
finds (a jump, a choice by indices) is reported.
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
from netlens.rules._quadrature import NODES, Position, StraightPath, along_rows

TOLERANCE = 1e-9
"""The share of the change that may be missed without refinement, if the type of the numbers has enough digits."""
SMALL = 0.01
"""The share of the change that may be missed on a path with many kinks. All inputs that change get a part of it."""
FEW, MANY = 8, 40
"""How often segments are halved: up to `FEW` times to reach `TOLERANCE`, up to `MANY` times to reach `SMALL`."""


class Estimated(list[Tensor | None]):
    """The multipliers of the inputs of a layer, and the change that they miss.

    The gap is the missed change. It has one number per row if all tensors have the same number of rows, else one
    number. A gap of None means that the change is unknown, because the output has another shape on the baseline.
    """

    def __init__(self, multipliers: Iterable[Tensor | None], gap: Tensor | None) -> None:
        super().__init__(multipliers)
        self.gap = gap


def along_path(layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Any) -> Estimated:
    """The mean gradient, refined until it misses at most the share `TOLERANCE` of the change.

    A layer may have several outputs, and may read masks and indices. Masks and indices stay constant along the path,
    as they are on the input. If at most the share `SMALL` is missed, the inputs get it in proportion to their changes.
    """
    return _RefinedPath(layer, inputs, reference, gradient, _changes).estimated()


def _changes(x: Tensor, r: Tensor) -> bool:
    return x.requires_grad or (is_differentiable(x) and not torch.equal(x, r))


@dataclass
class _Segment:
    """A segment of the path, from a to b. Each row has its own a and b.

    It holds the values of the output at a and at b, the integrals of the gradients, and the change that the integrals
    miss.
    """

    a: Tensor
    b: Tensor
    value_a: Tensor
    value_b: Tensor
    integrals: list[Tensor | None]
    missed: Tensor

    def with_rows(self, rows: Tensor, other: _Segment) -> _Segment:
        """This segment, with the values of another segment in these rows (a mask)."""
        names = ("a", "b", "value_a", "value_b", "missed")
        chosen = {name: torch.where(rows, getattr(other, name), getattr(self, name)) for name in names}
        pairs = zip(self.integrals, other.integrals, strict=True)
        return _Segment(integrals=[_choose(rows, new, old) for old, new in pairs], **chosen)


class _RefinedPath(StraightPath):
    """A path that is divided into as many segments as its integral needs."""

    scale: Tensor
    rounding: Tensor
    tolerance: Tensor

    def estimated(self) -> Estimated:
        outputs, outputs_at_0 = self.outputs(self.layer, self.end), self.outputs(self.layer, self.points(0))
        value_a, value_b = self.value(outputs_at_0), self.value(outputs)
        # the start of the path has the masks, indices and numbers of the input; the run on the baseline may have others
        unbound = self.layer.layer if isinstance(self.layer, Bound) else self.layer
        reference_outputs = self.outputs(unbound, self.reference)
        if [output.shape for output in reference_outputs] != [output.shape for output in outputs]:
            return Estimated(self.required(self.integral(0, 1, NODES)), None)
        self.measure(outputs, reference_outputs)
        integrals, missed = self.refined(value_a, value_b)
        missed = missed + (self.value(outputs_at_0) - self.value(reference_outputs))
        changes = self.changes(integrals)
        size = sum((self.row_sums(_paired(change, change)) for change in changes if change is not None), self.zeros)
        small = (missed.abs() > self.rounding) & (missed.abs() <= SMALL * self.scale) & (size > 0)
        if small.any():
            integrals = self.with_share(integrals, changes, torch.where(small, missed / size, 0))
        return Estimated(self.required(integrals), torch.where((missed.abs() > self.rounding) & ~small, missed, 0))

    def refined(self, value_a: Tensor, value_b: Tensor) -> tuple[list[Tensor | None], Tensor]:
        """The integral over the whole path after the refinement, and the change that it misses.

        Each row has its own segments, so that the values of a sample do not depend on its batch.
        """
        whole = self.segment(0.0, 1.0, NODES, value_a, value_b)
        if (whole.missed.abs() <= self.tolerance).all():
            return whole.integrals, whole.missed
        if self.rows_interact(value_a, value_b):
            self.join_rows()
            whole = replace(
                whole, value_a=value_a.sum(0, True), value_b=value_b.sum(0, True), missed=whole.missed.sum(0, True)
            )
        whole = replace(whole, a=self.zeros, b=self.zeros + 1)
        segments, missed = [whole], whole.missed
        for count in range(MANY):
            allowed = SMALL * self.scale if count >= FEW else self.tolerance
            unfinished = (missed.abs() > allowed) & missed.isfinite()  # refinement does not help NaN
            if count >= 2 * FEW:
                unfinished &= self.rows_with_slope(segments)
            if not unfinished.any():
                break
            segments = self.halved(segments, unfinished)
            missed = torch.stack([segment.missed for segment in segments]).sum(0)
        total = segments[0].integrals
        for segment in segments[1:]:
            total = [_plus(a, b) for a, b in zip(total, segment.integrals, strict=True)]
        return total, missed

    def rows_with_slope(self, segments: Sequence[_Segment]) -> Tensor:
        """The rows (a mask) whose gradient is not 0 everywhere. The output of all other rows changes only in jumps."""
        rows = self.zeros > 0
        for integral in (integral for segment in segments for integral in segment.integrals if integral is not None):
            rows |= self.row_sums(integral.abs()) > 0
        return rows

    def halved(self, segments: list[_Segment], rows: Tensor) -> list[_Segment]:
        """The segments after one step: in each of these rows, the segment that misses most is halved."""
        worst = torch.stack([segment.missed.abs() for segment in segments]).argmax(0)
        chosen = segments[0]
        for index, segment in enumerate(segments[1:], 1):
            chosen = chosen.with_rows(worst == index, segment)
        middle = (chosen.a + chosen.b) / 2
        value = self.value(self.outputs(self.layer, self.points(middle)))
        lower = self.segment(chosen.a, middle, NODES // 2, chosen.value_a, value)
        upper = self.segment(middle, chosen.b, NODES // 2, value, chosen.value_b)
        zero_integrals = [None if integral is None else torch.zeros_like(integral) for integral in upper.integrals]
        zero_segment = _Segment(self.zeros, self.zeros, self.zeros, self.zeros, zero_integrals, self.zeros)
        lower_halves = [segment.with_rows((worst == index) & rows, lower) for index, segment in enumerate(segments)]
        return [*lower_halves, zero_segment.with_rows(rows, upper)]

    def rows_interact(self, value_a: Tensor, value_b: Tensor) -> bool:
        """Whether rows affect each other, because they are not samples. A run that moves every second row shows it."""
        if self.rows == 1:
            return False
        odd = torch.arange(self.rows, device=value_a.device) % 2
        mixed_value = self.value(self.outputs(self.layer, self.points(odd.to(value_a.dtype))))
        return bool(((mixed_value - torch.where(odd == 1, value_b, value_a)).abs() > self.tolerance).any())

    def join_rows(self) -> None:
        """Treat all rows as one row in the following steps."""
        self.rows = 1
        self.scale, self.rounding, self.tolerance = (
            value.sum(0, True) for value in (self.scale, self.rounding, self.tolerance)
        )

    def segment(self, a: Position, b: Position, nodes: int, value_a: Tensor, value_b: Tensor) -> _Segment:
        integrals = self.integral(a, b, nodes)
        explained = self.zeros
        for integral, change in zip(integrals, self.changes(integrals), strict=True):
            if integral is not None and change is not None:
                explained = explained + self.row_sums(_paired(integral, change))
        return _Segment(self.zeros + a, self.zeros + b, value_a, value_b, integrals, value_b - value_a - explained)

    def outputs(self, layer: nn.Module, reads: Sequence[Any]) -> list[Tensor]:
        """The outputs of the layer that have a gradient."""
        with torch.no_grad():
            leaves = pytree.tree_leaves(layer(*reads))
        if len(leaves) != len(self.gradient_leaves):  # on the baseline a layer may give another number of tensors
            return []
        return [tensor for gradient, tensor in zip(self.gradient_leaves, leaves, strict=True) if gradient is not None]

    def value(self, outputs: Sequence[Tensor]) -> Tensor:
        """The gradient times the outputs, by row."""
        pairs = zip(self.gradients, outputs, strict=True)
        return sum((self.row_sums(_paired(gradient, output)) for gradient, output in pairs), self.zeros)

    def measure(self, outputs: Sequence[Tensor], reference_outputs: Sequence[Tensor]) -> None:
        """Set, for each row, the size of the change, the rounding error, and the change that may be missed."""
        self.scale, values = self.zeros, self.zeros
        for gradient, output, reference_output in zip(self.gradients, outputs, reference_outputs, strict=True):
            self.scale = self.scale + self.row_sums(_paired(gradient, output - reference_output).abs())
            values = values + self.row_sums(_paired(gradient, output).abs() + _paired(gradient, reference_output).abs())
        eps = max(torch.finfo(gradient.dtype).eps for gradient in self.gradients)
        self.rounding = 16 * eps * (4 * self.scale + values)
        self.tolerance = TOLERANCE * self.scale + self.rounding

    def changes(self, integrals: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The changes of the inputs that have a gradient."""
        ends = zip(integrals, self.end, self.start, strict=True)
        return [None if integral is None else torch.where(x == r, 0, x - r) for integral, x, r in ends]

    def with_share(
        self, integrals: Sequence[Tensor | None], changes: Sequence[Tensor | None], rate: Tensor
    ) -> list[Tensor | None]:
        """The multipliers plus `rate` times the changes of the inputs. Each row has its own rate."""
        return [
            None if integral is None or change is None else integral + change * along_rows(rate, change)
            for integral, change in zip(integrals, changes, strict=True)
        ]

    def required(self, integrals: Sequence[Tensor | None]) -> list[Tensor | None]:
        return [integral if x.requires_grad else None for integral, x in zip(integrals, self.end, strict=True)]

    @cached_property
    def gradient_leaves(self) -> list[Tensor | None]:
        return pytree.tree_leaves(self.gradient)

    @cached_property
    def gradients(self) -> list[Tensor]:
        return [gradient for gradient in self.gradient_leaves if gradient is not None]

    @cached_property
    def rows(self) -> int:
        """The number of rows of the tensors that change, if all have the same number; else 1."""
        values = [x for x, varies in zip(self.end, self.varies, strict=True) if varies] + self.gradients
        counts = {len(value) if value.ndim else 1 for value in values}
        return counts.pop() if len(counts) == 1 and all(value.numel() for value in values) else 1

    @property
    def zeros(self) -> Tensor:
        device = self.gradients[0].device
        return torch.zeros(self.rows, dtype=widest(device), device=device)

    def row_sums(self, values: Tensor) -> Tensor:
        return values.reshape(self.rows, -1).sum(1, dtype=self.zeros.dtype)


def _plus(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b


def _choose(rows: Tensor, new: Tensor | None, old: Tensor | None) -> Tensor | None:
    """The new values in these rows, the old values in all others. None counts as 0, or stays None if both are None."""
    present = old if old is not None else new
    if present is None:
        return None
    return torch.where(along_rows(rows, present), 0 if new is None else new, 0 if old is None else old)


def _paired(gradient: Tensor, change: Tensor) -> Tensor:
    """The gradient times the change, element by element. Complex numbers count as their two real parts."""
    product = (gradient.conj() * change).real if change.is_complex() or gradient.is_complex() else gradient * change
    return torch.where(gradient == 0, 0, product)  # 0 even for an infinite change

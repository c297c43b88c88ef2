"""Cost: how far it pays to go on with patches before the rest is computed on full maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

# Moving one number costs as much as this many multiplications and additions. On CPUs and GPUs alike, arithmetic is
# faster than memory by one to two orders of magnitude; between 8 and 32 the choice of the point hardly moves.
MOVE = 16.0


@dataclass(frozen=True)
class Cost:
    """What one step costs per row: multiplications, and numbers moved."""

    arithmetic: float
    moved: float

    @property
    def total(self) -> float:
        return self.arithmetic + MOVE * self.moved


def arithmetic(layer: nn.Module, outputs: int) -> float:
    """Multiplications for so many values of a layer's output."""
    if isinstance(layer, (nn.Conv2d, nn.Linear)):
        return float(outputs * layer.weight[0].numel())
    return 0.0


def best_switch(patched: Sequence[Cost], full: Sequence[Cost], pasted: Sequence[Cost]) -> int:
    """How many of the first steps to run on patches, so that these and all later ones on full maps cost least.

    `patched` has the steps that can run on patches, a beginning of those in `full`; `pasted`, one longer, what it costs
    to make full maps before each of them, and after the last.

    >>> full, free = [Cost(8, 0)] * 4, [Cost(0, 0)] * 4
    >>> best_switch([Cost(1, 0), Cost(1, 0), Cost(9, 0)], full, free)
    2
    """
    rest, spent, totals = sum(cost.total for cost in full), 0.0, []
    for patch, whole, paste in zip((*patched, Cost(0, 0)), (*full, Cost(0, 0)), pasted, strict=False):
        totals.append(spent + paste.total + rest)
        spent += patch.total
        rest -= whole.total
    return totals.index(min(totals))

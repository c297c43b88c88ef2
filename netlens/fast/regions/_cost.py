"""Costs: they decide how many steps run on patches, before all later steps run on full maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

# The cost of reading or writing one number, in multiplications. On CPUs and GPUs, arithmetic is faster than memory by
# one to two orders of magnitude. Values between 8 and 32 give almost the same choice.
MOVE = 16.0


@dataclass(frozen=True)
class Cost:
    """The cost of one step per row.

    Args:
        arithmetic: The number of multiplications.
        moved: The number of values that are read or written.
    """

    arithmetic: float
    moved: float

    @property
    def total(self) -> float:
        return self.arithmetic + MOVE * self.moved


def arithmetic(layer: nn.Module, outputs: int) -> float:
    """The number of multiplications with which a layer computes this number of output values."""
    if isinstance(layer, (nn.Conv2d, nn.Linear)):
        return float(outputs * layer.weight[0].numel())
    return 0.0


def best_switch(patched: Sequence[Cost], full: Sequence[Cost], pasted: Sequence[Cost]) -> int:
    """The number of steps at the start that run on patches, so that the whole run has the lowest cost.

    Args:
        patched: The costs on patches, for the steps that can run on patches.
        full: The costs on full maps, for all steps.
        pasted: The costs of making full maps from patches: before each step in `patched`, and after the last one.

    Example:
        >>> full, free = [Cost(8, 0)] * 4, [Cost(0, 0)] * 4
        >>> best_switch([Cost(1, 0), Cost(1, 0), Cost(9, 0)], full, free)
        2
    """
    on_maps, on_patches, totals = sum(cost.total for cost in full), 0.0, []
    for patch, full_map, paste in zip((*patched, Cost(0, 0)), (*full, Cost(0, 0)), pasted, strict=False):
        totals.append(on_patches + paste.total + on_maps)
        on_patches += patch.total
        on_maps -= full_map.total
    return totals.index(min(totals))

"""A step of a program: one layer with its inputs. A schedule: steps in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Step:
    """One layer of a program, with the values that it reads.

    Args:
        key: The key of the layer and of its value.
        layer: The layer.
        reads: The keys of the values that the layer reads, in order.
        hidden: Whether the step is shape arithmetic. It runs, but it does not count as a layer.
        guard: Whether the step is hidden and only checks an assertion.
    """

    key: str
    layer: nn.Module
    reads: tuple[str, ...]
    hidden: bool = False
    guard: bool = False


Schedule = tuple[tuple[Step, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Visit:
    """A function that runs in place of some layers, and may record or change their values.

    Args:
        run: A function from (step, inputs of the step) to the value of the step.
        keys: The keys of these steps; None for all steps.
    """

    run: Callable[[Step, list[Any]], Any]
    keys: frozenset[str] | None

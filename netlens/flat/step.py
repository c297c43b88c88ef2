"""A step: one layer in its place in a program; and an order in which steps run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Step:
    """One layer in its place: its key, and the keys whose values it reads, in order.

    Hidden steps are shape arithmetic; they run, but are not layers. A guard is a hidden step that only asserts.
    """

    key: str
    layer: nn.Module
    reads: tuple[str, ...]
    hidden: bool = False
    guard: bool = False


Schedule = tuple[tuple[Step, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Visit:
    """What runs in place of some steps' layers, and may hold on to what these give; `keys` of None are all steps."""

    run: Callable[[Step, list[Any]], Any]
    keys: frozenset[str] | None

"""Reuse of memory: a rectifier may overwrite an activation that nobody else reads or can see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
from torch import nn

from netlens.flat.operations import exact_operation_of
from netlens.flat.step import Schedule
from netlens.flat.traits import Trait


def overwriters(schedule: Schedule, held: Collection[str]) -> dict[str, Callable[..., Any]]:
    """For each step that may work in place of its input: what to call instead of its layer.

    The numbers are the same; a run only spares the memory, as the original does with its in-place layers. What lies at
    the `held` keys stays as it is.
    """
    recording = torch.is_grad_enabled()
    readers = Counter(key for step, _ in schedule for key in step.reads)
    names: dict[str, set[str]] = {}  # of values that a maker gave: all keys at which they lie
    found: dict[str, Callable[..., Any]] = {}
    gone: set[str] = set()

    def unseen(keys: set[str]) -> bool:
        # who else read it may have given a view of it, handed it on as it is, or hold on to it for a gradient
        return keys <= gone and keys.isdisjoint(held) and all(readers[key] == 1 for key in keys)

    for step, dead in schedule:
        kind, source = type(step.layer), step.reads[0] if len(step.reads) == 1 else ""
        row = exact_operation_of(step.layer)
        if row.has(Trait.FRESH):
            names[step.key] = {step.key}
        elif kind is nn.Identity and source in names:
            names[step.key] = names[source]
            names[step.key].add(step.key)
        gone.update(dead)
        # while gradients are recorded, the gradient must follow from the output: the input is gone
        in_place = row.in_place if row.has(Trait.INVERTIBLE) or not recording else None
        if in_place is not None and source in names and unseen(names[source]):
            found[step.key] = partial(in_place, inplace=True)
    return found


def may_overwrite(schedule: Schedule) -> bool:
    """Whether no hook of torch's own holds on to an activation."""
    return not any(step.layer._forward_hooks or step.layer._forward_pre_hooks for step, _ in schedule)

"""Reuse of memory: a rectifier may overwrite its input if no other layer reads it and no tap sees it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
from torch import nn

from netlens.flat.operations import Trait, exact_operation_of
from netlens.flat.running._step import Schedule


def overwriters(schedule: Schedule, protected: Collection[str]) -> dict[str, Callable[..., Any]]:
    """The functions that a run may call in place of layers. They overwrite their inputs and compute the same numbers.

    Args:
        schedule: The steps of the run.
        held: The keys of the values that must not be overwritten.

    Returns:
        Functions by the key of the step. Only steps that may overwrite their input have one.
    """
    recording = torch.is_grad_enabled()
    readers = Counter(key for step, _ in schedule for key in step.reads)
    aliases: dict[str, set[str]] = {}  # for each value that has its own memory: all keys of this value
    functions: dict[str, Callable[..., Any]] = {}
    dropped: set[str] = set()

    def unseen(keys: set[str]) -> bool:
        # a second reader may return a view of the value or the value itself, or keep the value for a gradient
        return keys <= dropped and keys.isdisjoint(protected) and all(readers[key] == 1 for key in keys)

    for step, dead in schedule:
        kind, source = type(step.layer), step.reads[0] if len(step.reads) == 1 else ""
        row = exact_operation_of(step.layer)
        if row.has(Trait.FRESH):
            aliases[step.key] = {step.key}
        elif kind is nn.Identity and source in aliases:
            aliases[step.key] = aliases[source]
            aliases[step.key].add(step.key)
        dropped.update(dead)
        # the gradient must follow from the output, because the input is lost
        in_place = row.in_place if row.has(Trait.INVERTIBLE) or not recording else None
        if in_place is not None and source in aliases and unseen(aliases[source]):
            functions[step.key] = partial(in_place, inplace=True)
    return functions


def may_overwrite(schedule: Schedule) -> bool:
    """Whether no layer has a hook of torch, which could keep an activation."""
    return not any(step.layer._forward_hooks or step.layer._forward_pre_hooks for step, _ in schedule)

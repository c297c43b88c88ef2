"""A program: the flat list of steps, the schedule that runs just what is needed, and nothing longer than needed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch.utils import _pytree as pytree

from netlens.flat.guard import guarded, is_misread
from netlens.flat.meter import meters
from netlens.flat.reuse import may_overwrite, overwriters
from netlens.flat.step import Schedule, Step, Visit


@dataclass(frozen=True)
class Program:
    """Steps in an order in which they can run, from named inputs to the outputs' structure."""

    steps: tuple[Step, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    structure: pytree.TreeSpec
    schedules: dict[Any, Schedule] = field(default_factory=dict, init=False, repr=False, compare=False)
    shortcuts: dict[Any, dict[str, Callable[..., Any]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def run(self, known: Mapping[str, Any], wanted: Sequence[str], visit: Visit | None = None) -> dict[str, Any]:
        """The values at the `wanted` keys, computed from the `known` ones by the fewest steps.

        Each value is let go as soon as its last reader has run.
        """
        values = dict(known)
        schedule, measuring = self.schedule(known, wanted), meters()
        recording = torch.is_grad_enabled() and not torch.compiler.is_compiling()  # a compiler writes its own backward
        visited = frozenset() if visit is None else visit.keys
        in_place = self.in_place(known, wanted, visited) if visited is not None and may_overwrite(schedule) else {}
        for step, dead in schedule:
            read = [values[key] for key in step.reads]
            if visit is not None and (visited is None or step.key in visited):
                value = guarded(visit.run, step, read) if recording else visit.run(step, read)
            elif recording and step.key in self.misread:
                value = guarded(step.layer, *read)
            else:
                value = in_place.get(step.key, step.layer)(*read)
            for meter in measuring:
                meter.note(value, values.values())
            values[step.key] = value
            del read, value
            for key in dead:
                del values[key]
        return {key: values[key] for key in wanted}

    @cached_property
    def misread(self) -> frozenset[str]:
        """The keys of layers that may call what torch differentiates right in some memory layouts only."""
        return frozenset(step.key for step in self.steps if is_misread(step.layer))

    def in_place(
        self, known: Collection[str], wanted: Sequence[str], visited: frozenset[str]
    ) -> dict[str, Callable[..., Any]]:
        """What the schedule may call instead of layers, as nobody can notice that memory is reused."""
        identity = (frozenset(known), tuple(wanted), visited, torch.is_grad_enabled())
        if identity not in self.shortcuts:
            self.shortcuts[identity] = overwriters(self.schedule(known, wanted), visited)
        return self.shortcuts[identity]

    def schedule(self, known: Collection[str], wanted: Sequence[str]) -> Schedule:
        """The steps that lead from `known` to `wanted`, each with the keys that nobody reads after it."""
        identity = (frozenset(known), tuple(wanted))
        if identity not in self.schedules:
            self.schedules[identity] = self._schedule(known, set(wanted))
        return self.schedules[identity]

    def _schedule(self, known: Collection[str], wanted: Collection[str]) -> Schedule:
        needed = set(wanted)
        chosen: set[str] = set()
        for step in reversed(self.steps):
            if step.key in needed and step.key not in known:
                chosen.add(step.key)
                needed.update(step.reads)
        for guard in self.steps:
            if guard.guard:
                sizes, sources = self._behind(guard)
                if sources <= chosen | set(known):
                    chosen |= sizes
        order = [step for step in self.steps if step.key in chosen]
        last_use = {step.key: step.key for step in order}
        last_use.update((key, step.key) for step in order for key in step.reads)
        dead: dict[str, list[str]] = {}
        for key, user in last_use.items():
            if key not in wanted:
                dead.setdefault(user, []).append(key)
        return tuple((step, tuple(dead.get(step.key, ()))) for step in order)

    def _behind(self, guard: Step) -> tuple[set[str], set[str]]:
        """The hidden steps that a guard needs, itself included, and the values whose sizes it guards."""
        hidden = {step.key: step for step in self.steps if step.hidden}
        sizes: set[str] = set()
        sources: set[str] = set()
        pending = [guard.key]
        while pending:
            key = pending.pop()
            if key in hidden:
                sizes.add(key)
                pending.extend(hidden[key].reads)
            else:
                sources.add(key)
        return sizes, sources

    def missing(self, known: Collection[str], wanted: Iterable[str]) -> list[str]:
        """The inputs that the steps from `known` to `wanted` would still need."""
        schedule = self.schedule(known, tuple(wanted))
        made = {step.key for step, _ in schedule}
        needed = [key for step, _ in schedule for key in step.reads] + list(wanted)
        return [key for key in dict.fromkeys(needed) if key not in made and key not in known]

    def frontier(self, key: str) -> tuple[str, ...]:
        """The values made up to `key`, and inputs, from which everything after it can be computed: a minimal cut."""
        position = next(i for i, step in enumerate(self.steps) if step.key == key)
        before = {step.key: step for step in self.steps[: position + 1]}
        read = {name for step in self.steps[position + 1 :] for name in step.reads} | set(self.outputs)
        for step in reversed(before.values()):
            if step.key in read and (step.hidden or not step.reads):
                read.remove(step.key)
                read.update(step.reads)  # sizes and constants are cheap, and are not activations: trace them back
        return tuple(name for name in (*self.inputs, *before) if name in read)

    def reached(self, keys: Iterable[str]) -> set[str]:
        """These keys and all that are computed from them."""
        reached = set(keys)
        for step in self.steps:
            if not reached.isdisjoint(step.reads):
                reached.add(step.key)
        return reached

    def assemble(self, values: Mapping[str, Any]) -> Any:
        """The network's output in its own structure (tensor, tuple, dict, dataclass)."""
        return pytree.tree_unflatten([values[key] for key in self.outputs], self.structure)

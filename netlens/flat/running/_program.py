"""A program: a flat list of steps. A run executes only the needed steps and drops values that no later step reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from netlens.flat.memory import meters
from netlens.flat.running._guard import guarded, is_misread
from netlens.flat.running._reuse import may_overwrite, overwriters
from netlens.flat.running._step import Schedule, Step, Visit
from netlens.interruption import Interrupted, interruption
from netlens.memo import Memo


@dataclass(frozen=True, eq=False)
class Program:
    """The steps of a network, in an order in which they can run.

    Args:
        steps: The steps.
        inputs: The keys of the inputs.
        outputs: The keys of the values that the output consists of.
        structure: The structure of the output, such as a tuple or a dict.
    """

    steps: tuple[Step, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    structure: pytree.TreeSpec

    def run(self, feeds: Mapping[str, Any], fetches: Sequence[str], visit: Visit | None = None) -> dict[str, Any]:
        """Compute values in as few steps as possible. A value is dropped as soon as its last reader has run.

        Args:
            feeds: The values from which the run starts, by key.
            fetches: The keys of the values to compute.
            visit: A function that runs in place of some layers; None to run all layers themselves.

        Returns:
            The values of the fetches by key.
        """
        values = dict(feeds)
        schedule, active_meters = self.schedule(feeds, fetches), meters()
        recording = torch.is_grad_enabled() and not torch.compiler.is_compiling()  # a compiler writes its own backward
        misread = self.misread if recording else frozenset()
        visited = frozenset() if visit is None else visit.keys
        in_place = self.in_place(feeds, fetches, visited) if visited is not None and may_overwrite(schedule) else {}
        interrupted = interruption()
        for step, dead in schedule:
            if interrupted is not None and interrupted():
                raise Interrupted(f"stopped before {step.key!r}.")
            inputs = [values[key] for key in step.reads]
            if visit is not None and (visited is None or step.key in visited):
                value = guarded(visit.run, step, inputs) if recording else visit.run(step, inputs)
            elif step.key in misread:
                value = guarded(step.layer, *inputs)
            else:
                value = in_place.get(step.key, step.layer)(*inputs)
            for meter in active_meters:
                meter.note(value, values.values())
            values[step.key] = value
            del inputs, value
            for key in dead:
                del values[key]
        return {key: values[key] for key in fetches}

    @property
    def misread(self) -> frozenset[str]:
        """The keys of the layers whose gradient torch may get wrong in some memory layouts."""
        return _MISREAD.of(self, None, lambda: frozenset(step.key for step in self.steps if is_misread(step.layer)))

    def in_place(
        self, feeds: Collection[str], fetches: Sequence[str], visited: frozenset[str]
    ) -> dict[str, Callable[..., Any]]:
        """The functions that a run may call in place of layers, by key. They overwrite inputs without other readers."""
        if torch.compiler.is_compiling():
            return overwriters(self.schedule(feeds, fetches), visited)
        question = (frozenset(feeds), tuple(fetches), visited, torch.is_grad_enabled())
        return _OVERWRITERS.of(self, question, lambda: overwriters(self.schedule(feeds, fetches), visited))

    def schedule(self, feeds: Collection[str], fetches: Sequence[str]) -> Schedule:
        """The steps that compute `fetches` from `feeds`. With each, the keys of the values that no later step reads."""
        if torch.compiler.is_compiling():  # a compiler would look at the programs of all other networks in the memo
            return self._schedule(feeds, set(fetches))
        question = (frozenset(feeds), tuple(fetches))
        return _SCHEDULES.of(self, question, lambda: self._schedule(feeds, set(fetches)))

    def _schedule(self, feeds: Collection[str], fetches: Collection[str]) -> Schedule:
        needed = set(fetches)
        scheduled: set[str] = set()
        for step in reversed(self.steps):
            if step.key in needed and step.key not in feeds:
                scheduled.add(step.key)
                needed.update(step.reads)
        for guard in self.steps:
            if guard.guard:
                hidden, sources = self._guard_inputs(guard)
                if sources <= scheduled | set(feeds):
                    scheduled |= hidden
        order = [step for step in self.steps if step.key in scheduled]
        last_readers = {step.key: step.key for step in order}
        last_readers.update((key, step.key) for step in order for key in step.reads)
        dead: dict[str, list[str]] = {}
        for key, reader in last_readers.items():
            if key not in fetches:
                dead.setdefault(reader, []).append(key)
        return tuple((step, tuple(dead.get(step.key, ()))) for step in order)

    def _guard_inputs(self, guard: Step) -> tuple[set[str], set[str]]:
        """The hidden steps on which a guard depends, including the guard, and the keys of the values that it checks."""
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

    def missing(self, feeds: Collection[str], fetches: Iterable[str]) -> list[str]:
        """The keys of the values that are missing for a run from `feeds` to `fetches`."""
        schedule = self.schedule(feeds, tuple(fetches))
        computed = {step.key for step, _ in schedule}
        needed = [key for step, _ in schedule for key in step.reads] + list(fetches)
        return [key for key in dict.fromkeys(needed) if key not in computed and key not in feeds]

    def frontier(self, key: str) -> tuple[str, ...]:
        """A minimal cut after the step `key`: the inputs and values up to this step that all later steps need."""
        position = next(i for i, step in enumerate(self.steps) if step.key == key)
        steps_before = {step.key: step for step in self.steps[: position + 1]}
        cut = {name for step in self.steps[position + 1 :] for name in step.reads} | set(self.outputs)
        for step in reversed(steps_before.values()):
            if step.key in cut and (step.hidden or not step.reads):
                cut.remove(step.key)
                cut.update(step.reads)  # sizes and constants are no activations and cheap, so they are computed again
        return tuple(name for name in (*self.inputs, *steps_before) if name in cut)

    def reached(self, keys: Iterable[str]) -> set[str]:
        """These keys, and the keys of all values that depend on them."""
        reached = set(keys)
        for step in self.steps:
            if not reached.isdisjoint(step.reads):
                reached.add(step.key)
        return reached

    def assemble(self, values: Mapping[str, Any]) -> Any:
        """The network's output in its own structure (tensor, tuple, dict, dataclass)."""
        return pytree.tree_unflatten([values[key] for key in self.outputs], self.structure)


_MISREAD: Memo[Program, frozenset[str]] = Memo()
_SCHEDULES: Memo[Program, Schedule] = Memo(most=256)
_OVERWRITERS: Memo[Program, dict[str, Callable[..., Any]]] = Memo(most=256)

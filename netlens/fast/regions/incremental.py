"""Incremental runs: the network on many variants of one sample, each of which differs from it in a window.

After Krypton (Nakandala et al. 2019, https://adalabucsd.github.io/papers/2019_Krypton_SIGMOD.pdf), for any flat model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from netlens.fast.layout import layout
from netlens.fast.regions.cost import Cost, arithmetic, best_switch
from netlens.fast.regions.local import Form, Layouts, first, last
from netlens.fast.regions.patch import Patch, Place, cut, hull
from netlens.fast.regions.sliding import Sliding
from netlens.flat.meter import meters, unmetered
from netlens.flat.program import Program
from netlens.flat.step import Step, Visit


@dataclass(frozen=True)
class Work:
    """Counts of multiplications in convolutions and linear layers.

    Args:
        done: The multiplications of the incremental runs.
        full: The multiplications of full forwards on the same samples.
    """

    done: float = 0.0
    full: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.done + other.done, self.full + other.full)

    def __sub__(self, other: Work) -> Work:
        return Work(self.done - other.done, self.full - other.full)


@dataclass(frozen=True)
class Plan:
    """How to run the variants with windows of one size.

    Args:
        steps: The steps that run on patches, each with the keys of the patches that no later step reads.
        cut: The keys of the values from which all later steps run on full maps.
        rest: The multiplications of these later steps per row.
    """

    steps: tuple[tuple[Step, tuple[str, ...]], ...]
    cut: tuple[str, ...]
    rest: float


class Incremental:
    """The run of one sample, and fast runs of variants whose value at `start` differs in a window. Without gradients.

    Args:
        program: The program to run.
        known: The feeds: values of one sample that cut the program, among them the value (1, C, H, W) at `start`.
        start: The key of the value in which variants differ.
        wanted: The fetches: the keys of the values to compute.
        switch: A function from the costs (on patches, on full maps, of making full maps) to the number of first steps
            to run on patches.
    """

    def __init__(
        self,
        program: Program,
        known: Mapping[str, Any],
        start: str,
        wanted: Sequence[str],
        switch: Callable[[Sequence[Cost], Sequence[Cost], Sequence[Cost]], int] = best_switch,
    ) -> None:
        self.program, self.start, self.wanted, self.switch = program, start, tuple(wanted), switch
        self.steps = [step for step, _ in program.schedule(known, self.wanted)]
        self.known = dict(known)
        self.shapes: dict[str, Any] = {key: _shape(value) for key, value in known.items()}
        self.layouts, self.format = Layouts(), layout(program)
        self.base: dict[str, Any] = {}
        self.padded: dict[tuple[str, Sliding], Tensor] = {}
        self.plans: dict[tuple[int, int], Plan] = {}
        # the latest values that the window does not reach, with their keys and number of rows
        self._unreached: tuple[object, dict[str, Any]] = (None, {})
        self._after = program.reached([start])
        self._of_sample = program.reached(program.inputs)
        self.result = self._recorded()
        """The fetches of the sample itself."""
        self.each = sum(self._full_cost(step).arithmetic for step in self.steps)
        """The multiplications of a full run from the feeds, per row."""
        self.work = Work(self.each, self.each)

    def _recorded(self) -> dict[str, Any]:
        """Run the sample itself. Keep the values up to the first layer that is not local: patches are cut from them."""
        changed, local = {self.start}, len(self.shapes[self.start]) == 4
        self.local: list[Step] = []

        def visit(step: Step, inputs: list[Any]) -> Any:
            nonlocal local
            value = step.layer(*inputs)
            self.shapes[step.key] = _shape(value)
            if step.hidden or changed.isdisjoint(step.reads):  # variants have the sizes of the sample
                self.base[step.key] = value
                return value
            local = local and self.layouts.local(step, changed, self.shapes)
            if local:
                self.local.append(step)
                changed.add(step.key)
                self.base[step.key] = value
            return value

        with torch.no_grad(), unmetered():
            values = self.program.run(self.known, self.wanted, Visit(visit, None))
        self.base.update(self.known)
        self.cuts = [self._cut(end) for end in (self.start, *(step.key for step in self.local))]
        kept = {key for cut in self.cuts for key in cut}
        kept |= {key for step in self.local for key in (*step.reads, step.key)}
        self.base = {key: value for key, value in self.base.items() if key in kept}
        return values

    def run(self, patch: Patch) -> dict[str, Any]:
        """The fetches of one variant per row. Its value at `start` differs from that of the sample in the patch."""
        plan = self.plan(patch.size)
        rows = len(patch.value)
        with torch.no_grad():
            patches, done = {self.start: patch}, plan.rest * rows
            for step, dead in plan.steps:
                output = self._step(step, patches)
                for meter in meters():
                    meter.note(output.value, [other.value for other in patches.values()])
                done += arithmetic(step.layer, output.value.numel())
                patches[step.key] = output
                for key in dead:
                    del patches[key]
            feeds = {key: self._full(key, patches[key], rows) for key in plan.cut if key in patches}
            feeds |= self._unchanged([key for key in plan.cut if key not in patches], rows)
            values = self.program.run(feeds, self.wanted)
        self.work += Work(done, self.each * rows)
        return values

    def plan(self, size: tuple[int, int]) -> Plan:
        """The plan for windows of this size at `start`."""
        if size not in self.plans:
            self.plans[size] = self._plan(size)
        return self.plans[size]

    def _plan(self, size: tuple[int, int]) -> Plan:
        sizes = {self.start: size}
        patched: list[Cost] = []
        for step in self.local:
            patched.append(self._patched_cost(step, sizes))
        after = [step for step in self.steps if step not in self.local and step.key in self._after]
        full = [self._full_cost(step) for step in (*self.local, *after)]
        pasted = [self._pasted_cost(cut) for cut in self.cuts]
        count = self.switch(patched, full, pasted)
        while math.isinf(pasted[count].total):  # full maps cannot be made after these steps
            count -= 1
        steps, cut = self.local[:count], self.cuts[count]
        rest = sum(self._full_cost(step).arithmetic for step, _ in self.program.schedule(cut, self.wanted))
        last_readers = {key: step for step in steps for key in step.reads}
        inner = {self.start, *(step.key for step in steps)} - set(cut)
        dead = [tuple(key for key in inner if last_readers.get(key) is step) for step in steps]
        return Plan(tuple(zip(steps, dead, strict=True)), cut, rest)

    def _cut(self, key: str) -> tuple[str, ...]:
        """The keys of the full maps that later steps need, if the steps up to `key` run on patches."""
        frontier = self.program.inputs if key in self.program.inputs else self.program.frontier(key)
        keys = [step.key for step in self.steps]
        before = {*self.known, *keys[: keys.index(key) + 1 if key in keys else 0]}
        cut = dict.fromkeys((*frontier, key, *(name for name in self.wanted if name in before)))
        read = {name for step, _ in self.program.schedule(cut, self.wanted) for name in step.reads}
        return tuple(name for name in cut if name in read or name in self.wanted)

    def _patched_cost(self, step: Step, sizes: dict[str, tuple[int, int]]) -> Cost:
        """The cost of a step on patches. The size of its output patch is added to `sizes`."""
        limit = self._limit(step.key)
        maps = [key for key in step.reads if key in sizes]
        seen, channels = [sizes[key] for key in maps], self._channels(maps[0])
        sliding = self.layouts.forms[step.key].sliding
        if sliding is not None:
            grown = [axis.grown(n, most) for axis, n, most in zip(sliding.axes, seen[0], limit, strict=True)]
            spans = [axis.spanned(n) for axis, n in zip(sliding.axes, grown, strict=True)]
            read = spans[0] * spans[1] * channels * (1 if sliding.pointwise else 3)  # cut out, written over, and read
            size = (grown[0], grown[1])
        else:
            size = (min(limit[0], max(h for h, _ in seen)), min(limit[1], max(w for _, w in seen)))
            read = size[0] * size[1] * channels * (3 * len(step.reads) - 2)
        sizes[step.key] = size
        outputs = size[0] * size[1] * self._channels(step.key)
        return Cost(arithmetic(step.layer, outputs), read + outputs)

    def _full_cost(self, step: Step) -> Cost:
        outputs = _count(self.shapes[step.key])
        return Cost(arithmetic(step.layer, outputs), outputs + sum(_count(self.shapes[key]) for key in step.reads))

    def _pasted_cost(self, cut: Sequence[str]) -> Cost:
        """The cost of making the full maps of a cut."""
        after = [key for key in cut if key in self._after]
        # a value that depends only on a size has an unknown number of rows, so it cannot be part of a cut
        possible = {self.start, *(step.key for step in self.local), *self.wanted}.issuperset(after)
        return Cost(0.0, sum(_count(self.shapes[key]) for key in after) if possible else math.inf)

    def _step(self, step: Step, patches: Mapping[str, Patch]) -> Patch:
        inputs = [patches[key] for key in step.reads if key in patches]
        form = self.layouts.forms[step.key]
        if form.turned:  # a permutation of the maps, while patches always have their channels first
            return inputs[0]
        if form.sliding is not None:
            return self._slid(step, form.sliding, inputs[0])
        place = inputs[0].place if len(step.reads) == 1 else hull(inputs, self._limit(step.key))
        value = step.layer(*(self._meeting(key, patches.get(key), place, form) for key in step.reads))
        return Patch(first(value) if form.last else value, place.top, place.left)

    def _slid(self, step: Step, sliding: Sliding, patch: Patch) -> Patch:
        if sliding.pointwise:
            return Patch(sliding(patch.value), patch.top, patch.left)
        limit = self._limit(step.key)
        outputs = sliding.reached(patch.place, limit)
        seen = sliding.seen(outputs)
        (key,) = step.reads
        source = (key, sliding)
        if source not in self.padded:
            maps = self.base[key].contiguous(memory_format=torch.channels_last)
            self.padded[source] = sliding.padded(maps, limit)
        block = cut(self.padded[source], seen)
        patch.into(block, seen.moved(-sliding.axes[0].padding, -sliding.axes[1].padding))
        return Patch(sliding(block), outputs.top, outputs.left)

    def _meeting(self, key: str, patch: Patch | None, place: Place, form: Form) -> Any:
        """One input of a layer that combines values place by place, at `place` and in the layout of the layer."""
        if patch is not None and patch.place == place:
            block = patch.value
        elif len(self.shapes[key]) != 4:
            return self.base[key]
        else:
            block = cut(first(self.base[key]) if form.last else self.base[key], place)
            if patch is not None:
                block = patch.into(block, place)
        return last(block) if form.last else block

    def _full(self, key: str, patch: Patch, rows: int) -> Tensor:
        """The full maps of all variants: those of the sample with the patches."""
        channels_last = key in self.layouts.last
        maps = first(self.base[key]) if channels_last else self.base[key]
        full = maps.expand(rows, -1, -1, -1).clone(memory_format=self.format)
        patch.into(full, Place((0,) * rows, (0,) * rows, self._limit(key)))
        return last(full) if channels_last else full

    def _unchanged(self, keys: Sequence[str], rows: int) -> dict[str, Any]:
        """The values of all variants at keys that the window does not reach.

        The feeds are repeated for all rows. All other values come from a run with this number of rows, because only
        such a run shows which dimension holds the rows. The next run with as many rows uses them again.
        """
        repeated = {key: self._repeated(key, rows) for key in keys if key in self.known or key not in self._of_sample}
        others = tuple(key for key in keys if key not in repeated)
        if not others:
            return repeated
        if self._unreached[0] != (others, rows):
            feeds = {key: self._repeated(key, rows) for key in self.known}
            self._unreached = ((others, rows), self.program.run(feeds, others))
            macs = sum(self._full_cost(step).arithmetic for step, _ in self.program.schedule(feeds, others)) * rows
            self.work += Work(macs, 0.0)
        return repeated | self._unreached[1]

    def _repeated(self, key: str, rows: int) -> Any:
        """A feed, repeated for a number of rows. A value that depends only on weights stays as it is."""
        if key not in self._of_sample:
            return self.base[key]
        return pytree.tree_map_only(Tensor, lambda x: x.expand(rows, *x.shape).flatten(0, 1), self.known[key])

    def _limit(self, key: str) -> tuple[int, int]:
        shape = self.shapes[key]
        return (shape[1], shape[2]) if key in self.layouts.last else (shape[2], shape[3])

    def _channels(self, key: str) -> int:
        shape = self.shapes[key]
        channels: int = shape[3] if key in self.layouts.last else shape[1]
        return channels


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _count(shape: Any) -> int:
    return math.prod(shape) if shape else 0

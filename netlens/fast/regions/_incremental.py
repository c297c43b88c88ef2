"""Incremental runs: the network on many variants of one sample. Each variant differs from the sample in a window only.

This is the idea of Krypton, for any flat model. Nakandala et al. 2019,
https://adalabucsd.github.io/papers/2019_Krypton_SIGMOD.pdf
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from netlens.fast._layout import layout
from netlens.fast.regions._cost import Cost, arithmetic, best_switch
from netlens.fast.regions._local import Form, Layouts, to_channels_first, to_channels_last
from netlens.fast.regions._patch import Patch, Rectangles, cut, hull
from netlens.fast.regions._sliding import Sliding
from netlens.flat.memory import meters, unmetered
from netlens.flat.running import Program, Step, Visit


@dataclass(frozen=True)
class Work:
    """The number of multiplications in convolutions and linear layers.

    Args:
        incremental: The number in the incremental runs.
        full: The number in full forwards on the same samples.
    """

    incremental: float = 0.0
    full: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.incremental + other.incremental, self.full + other.full)

    def __sub__(self, other: Work) -> Work:
        return Work(self.incremental - other.incremental, self.full - other.full)


@dataclass(frozen=True)
class Plan:
    """The plan of the runs with windows of one size.

    Args:
        steps: The steps that run on patches. With each, the keys of the patches that no later step reads.
        cut: The keys of the full maps from which all later steps run.
        remaining: The number of multiplications of these later steps, per row.
    """

    steps: tuple[tuple[Step, tuple[str, ...]], ...]
    cut: tuple[str, ...]
    remaining: float


class Incremental:
    """The run of one sample, and fast runs of its variants, without gradients.

    A variant differs from the sample in a window of the value at `start`.

    Args:
        program: The program to run.
        feeds: Values of one sample, by key, that suffice to compute `fetches`. One of them is the value (1, C, H, W) at
            `start`.
        start: The key of the value that differs between variants.
        fetches: The keys of the values to compute.
        switch: A function from three lists of costs, as in `best_switch`, to the number of steps that run on patches.
    """

    def __init__(
        self,
        program: Program,
        feeds: Mapping[str, Any],
        start: str,
        fetches: Sequence[str],
        switch: Callable[[Sequence[Cost], Sequence[Cost], Sequence[Cost]], int] = best_switch,
    ) -> None:
        self.program, self.start, self.fetches, self.switch = program, start, tuple(fetches), switch
        self.steps = [step for step, _ in program.schedule(feeds, self.fetches)]
        self.feeds = dict(feeds)
        self.shapes: dict[str, Any] = {key: _shape(value) for key, value in feeds.items()}
        self.layouts, self.format = Layouts(), layout(program)
        self.base: dict[str, Any] = {}
        self.padded: dict[tuple[str, Sliding], Tensor] = {}
        self.plans: dict[tuple[int, int], Plan] = {}
        # the latest values that do not depend on the window, with their keys and number of rows
        self._unreached: tuple[object, dict[str, Any]] = (None, {})
        self._reached = program.reached([start])
        self._per_sample = program.reached(program.inputs)
        self.result = self._recorded()
        """The values at `fetches` of the sample itself."""
        self.macs_per_row = sum(self._full_cost(step).arithmetic for step in self.steps)
        """The number of multiplications of a full run from the feeds, per row."""
        self.work = Work(self.macs_per_row, self.macs_per_row)

    def _recorded(self) -> dict[str, Any]:
        """Run the sample itself. Store the values up to the first layer that is not local; patches need them."""
        changed, local = {self.start}, len(self.shapes[self.start]) == 4
        self.local: list[Step] = []

        def visit(step: Step, inputs: list[Any]) -> Any:
            nonlocal local
            value = step.layer(*inputs)
            self.shapes[step.key] = _shape(value)
            if step.hidden or changed.isdisjoint(step.reads):  # the value is the same for all variants
                self.base[step.key] = value
                return value
            local = local and self.layouts.local(step, changed, self.shapes)
            if local:
                self.local.append(step)
                changed.add(step.key)
                self.base[step.key] = value
            return value

        with torch.no_grad(), unmetered():
            values = self.program.run(self.feeds, self.fetches, Visit(visit, None))
        self.base.update(self.feeds)
        self.cuts = [self._cut(end) for end in (self.start, *(step.key for step in self.local))]
        needed_keys = {key for cut in self.cuts for key in cut}
        needed_keys |= {key for step in self.local for key in (*step.reads, step.key)}
        self.base = {key: value for key, value in self.base.items() if key in needed_keys}
        return values

    def run(self, patch: Patch) -> dict[str, Any]:
        """The values at `fetches` of several variants, one per row. The patch holds the difference from the sample."""
        plan = self.plan(patch.size)
        rows = len(patch.value)
        with torch.no_grad():
            patches, macs = {self.start: patch}, plan.remaining * rows
            for step, dead in plan.steps:
                output = self._step(step, patches)
                for meter in meters():
                    meter.note(output.value, [p.value for p in patches.values()])
                macs += arithmetic(step.layer, output.value.numel())
                patches[step.key] = output
                for key in dead:
                    del patches[key]
            feeds = {key: self._full(key, patches[key], rows) for key in plan.cut if key in patches}
            feeds |= self._unchanged([key for key in plan.cut if key not in patches], rows)
            values = self.program.run(feeds, self.fetches)
        self.work += Work(macs, self.macs_per_row * rows)
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
        later_steps = [step for step in self.steps if step not in self.local and step.key in self._reached]
        full = [self._full_cost(step) for step in (*self.local, *later_steps)]
        pasted = [self._pasted_cost(cut) for cut in self.cuts]
        count = self.switch(patched, full, pasted)
        while math.isinf(pasted[count].total):  # after these steps, full maps cannot be made
            count -= 1
        steps, cut = self.local[:count], self.cuts[count]
        remaining = sum(self._full_cost(step).arithmetic for step, _ in self.program.schedule(cut, self.fetches))
        last_readers = {key: step for step in steps for key in step.reads}
        inner = {self.start, *(step.key for step in steps)} - set(cut)
        dead = [tuple(key for key in inner if last_readers.get(key) is step) for step in steps]
        return Plan(tuple(zip(steps, dead, strict=True)), cut, remaining)

    def _cut(self, key: str) -> tuple[str, ...]:
        """The keys of the full maps that later steps read, if the steps up to `key` run on patches."""
        frontier = self.program.inputs if key in self.program.inputs else self.program.frontier(key)
        keys = [step.key for step in self.steps]
        computed = {*self.feeds, *keys[: keys.index(key) + 1 if key in keys else 0]}
        cut = dict.fromkeys((*frontier, key, *(name for name in self.fetches if name in computed)))
        read_keys = {name for step, _ in self.program.schedule(cut, self.fetches) for name in step.reads}
        return tuple(name for name in cut if name in read_keys or name in self.fetches)

    def _patched_cost(self, step: Step, sizes: dict[str, tuple[int, int]]) -> Cost:
        """The cost of a step on patches. This adds the size of its output patch to `sizes`."""
        limit = self._limit(step.key)
        maps = [key for key in step.reads if key in sizes]
        input_sizes, channels = [sizes[key] for key in maps], self._channels(maps[0])
        sliding = self.layouts.forms[step.key].sliding
        if sliding is not None:
            grown = [axis.grown(n, most) for axis, n, most in zip(sliding.axes, input_sizes[0], limit, strict=True)]
            spans = [axis.spanned(n) for axis, n in zip(sliding.axes, grown, strict=True)]
            moved = spans[0] * spans[1] * channels * (1 if sliding.pointwise else 3)  # cut out, overwritten, and read
            size = (grown[0], grown[1])
        else:
            size = (min(limit[0], max(h for h, _ in input_sizes)), min(limit[1], max(w for _, w in input_sizes)))
            moved = size[0] * size[1] * channels * (3 * len(step.reads) - 2)
        sizes[step.key] = size
        outputs = size[0] * size[1] * self._channels(step.key)
        return Cost(arithmetic(step.layer, outputs), moved + outputs)

    def _full_cost(self, step: Step) -> Cost:
        outputs = _count(self.shapes[step.key])
        return Cost(arithmetic(step.layer, outputs), outputs + sum(_count(self.shapes[key]) for key in step.reads))

    def _pasted_cost(self, cut: Sequence[str]) -> Cost:
        """The cost of making the full maps of a cut."""
        reached_keys = [key for key in cut if key in self._reached]
        # the number of rows is unknown for a value that depends only on a size, so it cannot be part of a cut
        possible = {self.start, *(step.key for step in self.local), *self.fetches}.issuperset(reached_keys)
        return Cost(0.0, sum(_count(self.shapes[key]) for key in reached_keys) if possible else math.inf)

    def _step(self, step: Step, patches: Mapping[str, Patch]) -> Patch:
        inputs = [patches[key] for key in step.reads if key in patches]
        form = self.layouts.forms[step.key]
        if form.moves_channels:  # the step permutes maps, but patches always have channels first
            return inputs[0]
        if form.sliding is not None:
            return self._slid(step, form.sliding, inputs[0])
        rectangles = inputs[0].rectangles if len(step.reads) == 1 else hull(inputs, self._limit(step.key))
        value = step.layer(*(self._input_block(key, patches.get(key), rectangles, form) for key in step.reads))
        return Patch(to_channels_first(value) if form.channels_last else value, rectangles.top, rectangles.left)

    def _slid(self, step: Step, sliding: Sliding, patch: Patch) -> Patch:
        if sliding.pointwise:
            return Patch(sliding(patch.value), patch.top, patch.left)
        limit = self._limit(step.key)
        outputs = sliding.reached(patch.rectangles, limit)
        inputs = sliding.inputs_of(outputs)
        (key,) = step.reads
        source = (key, sliding)
        if source not in self.padded:
            maps = self.base[key].contiguous(memory_format=torch.channels_last)
            self.padded[source] = sliding.padded(maps, limit)
        block = cut(self.padded[source], inputs)
        patch.into(block, inputs.moved(-sliding.axes[0].padding, -sliding.axes[1].padding))
        return Patch(sliding(block), outputs.top, outputs.left)

    def _input_block(self, key: str, patch: Patch | None, rectangles: Rectangles, form: Form) -> Any:
        """One input of a layer that works position by position: its values in `rectangles`, in the layer's layout."""
        if patch is not None and patch.rectangles == rectangles:
            block = patch.value
        elif len(self.shapes[key]) != 4:
            return self.base[key]
        else:
            block = cut(to_channels_first(self.base[key]) if form.channels_last else self.base[key], rectangles)
            if patch is not None:
                block = patch.into(block, rectangles)
        return to_channels_last(block) if form.channels_last else block

    def _full(self, key: str, patch: Patch, rows: int) -> Tensor:
        """The full maps of all variants: the maps of the sample, overwritten by the patches."""
        channels_last = key in self.layouts.channels_last
        maps = to_channels_first(self.base[key]) if channels_last else self.base[key]
        full = maps.expand(rows, -1, -1, -1).clone(memory_format=self.format)
        patch.into(full, Rectangles((0,) * rows, (0,) * rows, self._limit(key)))
        return to_channels_last(full) if channels_last else full

    def _unchanged(self, keys: Sequence[str], rows: int) -> dict[str, Any]:
        """The values at `keys`, for all variants. None of these values depends on the window.

        Feeds are repeated, one copy for each row. Values that depend only on weights stay as they are. All others are
        computed from the repeated feeds, because their rows may be in any dimension. The next run with the same keys
        and number of rows uses the computed values again.
        """
        repeated = {key: self._repeated(key, rows) for key in keys if key in self.feeds or key not in self._per_sample}
        computed_keys = tuple(key for key in keys if key not in repeated)
        if not computed_keys:
            return repeated
        if self._unreached[0] != (computed_keys, rows):
            feeds = {key: self._repeated(key, rows) for key in self.feeds}
            self._unreached = ((computed_keys, rows), self.program.run(feeds, computed_keys))
            macs = (
                sum(self._full_cost(step).arithmetic for step, _ in self.program.schedule(feeds, computed_keys)) * rows
            )
            self.work += Work(macs, 0.0)
        return repeated | self._unreached[1]

    def _repeated(self, key: str, rows: int) -> Any:
        """A feed, repeated for this number of rows. A value that depends only on weights is not repeated."""
        if key not in self._per_sample:
            return self.base[key]
        return pytree.tree_map_only(Tensor, lambda x: x.expand(rows, *x.shape).flatten(0, 1), self.feeds[key])

    def _limit(self, key: str) -> tuple[int, int]:
        shape = self.shapes[key]
        return (shape[1], shape[2]) if key in self.layouts.channels_last else (shape[2], shape[3])

    def _channels(self, key: str) -> int:
        shape = self.shapes[key]
        channels: int = shape[3] if key in self.layouts.channels_last else shape[1]
        return channels


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _count(shape: Any) -> int:
    return math.prod(shape) if shape else 0

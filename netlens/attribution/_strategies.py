"""How a batch runs forward and backward: as one, with one forward run for all copies of an image, or in chunks.

`strategy_for` chooses. All strategies give the same numbers up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution._backward import Pass, forward_backward
from netlens.attribution._rows import rows_of_no_sample, with_rows
from netlens.attribution.batch import are_copies
from netlens.attribution.mixing import mixing
from netlens.fast import arranged, fast
from netlens.fast.chunks import fitting, in_chunks
from netlens.flat import FlatModel, Rules
from netlens.flat.memory import metered
from netlens.flat.rules import Rule, Ruled
from netlens.flat.running import tapped_visit
from netlens.memo import Memo
from netlens.objectives import Objective


@dataclass(frozen=True, eq=False)
class Task:
    """A forward and backward run to be made: of an objective on the batch x, with gradients at `keys`.

    `fast` is the fast version of the network without `rules`, and `runner` is the version that follows the rules.
    """

    flat: FlatModel
    x: Tensor
    objective: Objective
    keys: Sequence[str]
    rules: Rules | None
    fast: FlatModel
    runner: FlatModel
    hooks_listen: bool

    @classmethod
    def of(cls, flat: FlatModel, x: Tensor, objective: Objective, keys: Sequence[str], rules: Rules | None) -> Task:
        """The task with the version of the network that runs it."""
        version = fast(flat, [*flat.keys_of(objective.layers), *keys])
        runner = version if rules is None else version.with_rules(rules)
        return cls(flat, x, objective, keys, rules, version, runner, tapped_visit(flat) is not None)

    def part(self, first: int, last: int) -> Pass:
        """The run of some samples."""
        objective = self.objective if last - first == len(self.x) else self.objective.take(range(first, last))
        return self.run(self.x[first:last], [objective])

    def run(self, samples: Tensor, objectives: Sequence[Objective]) -> Pass:
        """The run of these samples, in the memory format that is the fastest."""
        if not self.hooks_listen:  # hooks get the memory format of the network itself
            samples = arranged(samples, self.fast)
        return forward_backward(self.flat, self.runner, samples, objectives, self.keys)

    @property
    def active_rules(self) -> list[Rule]:
        """The rules of the layers that run: the rules of the call, and the rules that the network itself has."""
        if self.rules is None and self.runner is not self.flat:
            return []  # a fast version is made only of a network without rules
        return [step.layer.rule for step in self.runner.program.steps if isinstance(step.layer, Ruled)]


Strategy = Callable[[Task], Pass]


def strategy_for(task: Task) -> Strategy:
    """How the batch of a task runs."""
    if len(task.x) == 1 or _needs_whole_batch(task):
        return as_one
    if are_copies(task.x) and _may_share_forward(task):
        return as_copies
    # a network that has rules is a view, which often serves a single call, so its measure is not kept
    return in_chunks_from_first if task.runner is task.flat else in_measured_chunks


def _needs_whole_batch(task: Task) -> bool:
    """Whether samples must run together, because of hooks, the objective, a rule, a layer that mixes them, or a key.

    The activation at a key that does not depend on the input has no rows of samples that chunks could share.
    """
    flat = task.flat
    if task.hooks_listen or not task.objective.splits or not all(rule.splits for rule in task.active_rules):
        return True
    return bool(mixing(flat, task.x)) or not set(task.keys) <= flat.program.reached(flat.inputs)


def _may_share_forward(task: Task) -> bool:
    """Whether one forward run serves all copies: rules may propagate only once, and rows must belong to samples."""
    if task.active_rules:
        return False
    return set(task.keys) <= {*task.flat.inputs, *with_rows(task.flat, task.x, task.keys)}


def as_one(task: Task) -> Pass:
    """Run the whole batch at once."""
    return task.part(0, len(task.x))


def as_copies(task: Task) -> Pass:
    """Run one image forward once, and backward once for the objective of each copy."""
    return task.run(task.x[:1], [task.objective.take([copy]) for copy in range(len(task.x))])


def in_chunks_from_first(task: Task) -> Pass:
    """Run in chunks. The first sample runs alone, and shows how many others fit and how many rows a sample has."""
    parts = list(in_chunks(len(task.x), None, task.part))
    return _joined(task.keys, parts, [len(activation) for activation in parts[0].activations])


def in_measured_chunks(task: Task) -> Pass:
    """Run in chunks of a size that fits. One sample measures the size, once for all samples of the same kind."""
    x, keys = task.x, task.keys

    def measure() -> tuple[int, list[int]]:
        with metered() as meter:
            sample = task.part(0, 1)
        return fitting(meter), [len(activation) for activation in sample.activations]

    kind = (x.shape[1:], x.dtype, x.device, tuple(keys), task.rules)
    size, rows = _MEASURES.of(task.flat, kind, measure)
    return _joined(keys, list(in_chunks(len(x), size, task.part)), rows)


_MEASURES: Memo[FlatModel, tuple[int, list[int]]] = Memo()


def _joined(keys: Sequence[str], parts: list[Pass], rows: Sequence[int]) -> Pass:
    """The result for a batch, joined from those of its chunks. `rows` is the number of rows per sample at each key."""
    for part in parts:
        for key, activation, count in zip(keys, part.activations, rows, strict=True):
            if len(activation) != count * len(part.values):  # else rows would be taken for windows of samples
                raise rows_of_no_sample(key, activation, len(part.values))
    if len(parts) == 1:
        return parts[0]
    return Pass(
        torch.cat([part.values for part in parts]),
        [torch.cat(tensors) for tensors in zip(*(part.activations for part in parts), strict=True)],
        [torch.cat(tensors) for tensors in zip(*(part.gradients for part in parts), strict=True)],
    )

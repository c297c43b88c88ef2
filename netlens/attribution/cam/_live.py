"""The values of a run that carry a gradient from the input, and which of these are tensors of real numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from netlens.attribution._rows import real_tensor
from netlens.flat import FlatModel
from netlens.flat.keys import OUTPUT
from netlens.flat.running import Step, differentiating, tapped_visit
from netlens.memo import Memo
from netlens.objectives import Objective


@dataclass(frozen=True)
class Live:
    """The values that carry a gradient from the input to an objective.

    `steps` are all steps of the network, by key. `leading` are the layers that the gradient passes, in order. `keys`
    are the keys of all values that carry a gradient. `real` are those of `keys` whose value is one tensor of real
    numbers. `neutral` are the keys of values that depend on the input but hold no real numbers, such as sizes.
    """

    steps: Mapping[str, Step]
    leading: tuple[Step, ...]
    keys: frozenset[str]
    real: frozenset[str]
    neutral: frozenset[str]

    def producers(self, step: Step) -> Iterator[Step]:
        """The layers that give the step a live value other than one real tensor, such as a tuple of tensors."""
        for key in step.reads:
            if key in self.keys - self.real:
                yield self.steps[key]

    def sources(self, step: Step, fixed: bool = False) -> list[str]:
        """The live real values from which a step and its producers are computed; with `fixed`, all other values too."""
        direct = [key for key in step.reads if key in self.real or (fixed and key not in self.keys)]
        indirect = (key for producer in self.producers(step) for key in self.sources(producer, fixed))
        return list(dict.fromkeys((*direct, *indirect)))

    def value(self, step: Step, sources: Mapping[str, Any]) -> Any:
        """The output of a step for these values of its sources."""
        produced = {producer.key: self.value(producer, sources) for producer in self.producers(step)}
        return step.layer(*(produced[key] if key in produced else sources[key] for key in step.reads))


def live_values(flat: FlatModel, x: Tensor, objective: Objective) -> Live:
    """The values that carry a gradient from x to the objective. A run of the first sample shows them, once per size."""
    fetches = {key for name in flat.keys_of(objective.layers) for key in _keys(flat, name)}
    if tapped_visit(flat) is not None:  # hooks may change anything
        return _live_of_run(flat, x, fetches)
    return _LIVE.of(flat, (x.shape[1:], x.dtype, x.device, frozenset(fetches)), lambda: _live_of_run(flat, x, fetches))


_LIVE: Memo[FlatModel, Live] = Memo()


def _keys(flat: FlatModel, name: str) -> tuple[str, ...]:
    return flat.program.outputs if name == OUTPUT and not flat.layers.has(OUTPUT) else (name,)


def _live_of_run(flat: FlatModel, x: Tensor, fetches: set[str]) -> Live:
    reached = flat.program.reached(flat.inputs)
    keys = [step.key for step, _ in flat.program.schedule(flat.inputs, tuple(fetches)) if step.key in reached]
    with differentiating():
        samples = real_tensor(flat.inputs[0], x if tapped_visit(flat) is not None else x[:1])  # hooks get the batch
        image = samples.detach().clone().requires_grad_()
        values = {flat.inputs[0]: image, **flat.run({flat.inputs[0]: image}, keys)}
    live = frozenset(key for key, value in values.items() if any(leaf.requires_grad for leaf in _tensors(value)))
    real = frozenset(key for key in live if isinstance(values[key], Tensor) and values[key].is_floating_point())
    neutral = frozenset(key for key, value in values.items() if not any(map(_has_numbers, _tensors(value))))
    leading, needed = [], set(fetches)
    for step in reversed(flat.program.steps):
        if step.key in needed & live:
            needed.update(step.reads)
            leading.append(step)
    steps = {step.key: step for step in flat.program.steps}
    return Live(steps, tuple(step for step in reversed(leading) if not step.hidden), live, real, neutral)


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _has_numbers(value: Tensor) -> bool:
    return value.is_floating_point() or value.is_complex()

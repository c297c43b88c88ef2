"""DeepLIFT's rescale rule for every layer: multipliers, which times the change from a baseline are the change behind.

One run on the baseline records what the layers that are not linear read there. Their rules then turn the gradient of
any run into multipliers: for a layer with inputs x and outputs y, the sum of multiplier times change over its inputs is
that over its outputs, whatever the size of the change. So the multipliers of a whole network are exact, too.

Shrikumar et al. 2017, https://arxiv.org/abs/1704.02685
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netlens.flat.layers import Divide, Function, Slot
from netlens.flat.model import OUTPUT, FlatModel
from netlens.flat.program import Step
from netlens.flat.rules import Rule, Rules, is_differentiable
from netlens.rules.calls import Propagate, innermost, name_of, tensors, uses
from netlens.rules.linear import is_linear, is_product
from netlens.rules.norms import NAMES, NORMS, norm
from netlens.rules.pieces import has_pieces, pieces_of, through_pieces
from netlens.rules.pooling import POOLS, largest, max_pool
from netlens.rules.products import along_path, chosen, larger, product, quotient
from netlens.rules.secant import ELEMENTWISE, exponential, secant
from netlens.rules.softmax import SOFTMAXES, softmax

_TYPES: dict[type[nn.Module], Propagate] = {
    **{kind: secant for kind in ELEMENTWISE if isinstance(kind, type)},
    **dict.fromkeys(POOLS, max_pool),
    **dict.fromkeys(NORMS, norm),
    **dict.fromkeys(SOFTMAXES, softmax),
    Divide: quotient,
}
_NAMES: dict[str, Propagate] = {
    **{name: secant for name in ELEMENTWISE if isinstance(name, str)},
    **dict.fromkeys(("exp", "expm1"), exponential),
    **dict.fromkeys(NAMES, norm),
    **dict.fromkeys(("maximum", "minimum", "max", "min"), larger),
    **dict.fromkeys(("where", "masked_fill"), chosen),
    **dict.fromkeys(("amax", "amin"), largest),
}


def rescale(flat: FlatModel, baseline: Tensor, until: Sequence[str] = (OUTPUT,)) -> Rules:
    """The rules for explaining a batch against `baseline`, of the same shape; runs no further than `until`."""
    plan = Rescale.of(flat, flat.keys_of(until))
    with torch.no_grad():
        return plan.rules(flat.run({flat.inputs[0]: baseline}, plan.reads))


@dataclass(frozen=True)
class Rescale:
    """Which layers need a rule, which one, and what has to be recorded on the baseline for it."""

    steps: Mapping[str, tuple[Step, Propagate]]

    @classmethod
    def of(cls, flat: FlatModel, until: Sequence[str], wrt: str | None = None) -> Rescale:
        """For the way from `wrt`, by default all inputs, to the exact keys `until`."""
        wanted = [key for name in until for key in (flat.program.outputs if name == OUTPUT else (name,))]
        after = flat.program.reached(flat.inputs if wrt is None else [wrt]) - {wrt}
        active = set(flat.inputs)  # what changes with the input, sizes left out
        steps = {}
        for step, _ in flat.program.schedule(flat.inputs, tuple(wanted)):
            if step.hidden or active.isdisjoint(step.reads):
                continue
            active.add(step.key)
            propagate = _propagation(step, active) if step.key in after else None
            if propagate is not None:
                steps[step.key] = step, propagate
        return cls(steps)

    @property
    def reads(self) -> list[str]:
        """The keys to record on the baseline."""
        keys = (key for step, propagate in self.steps.values() for key in (*step.reads, *_output(step, propagate)))
        return list(dict.fromkeys(keys))

    def view(self, flat: FlatModel, reference: Mapping[str, Any]) -> FlatModel:
        """`flat` with these rules; a network that is linear needs none."""
        rules = self.rules(reference)
        return flat.with_rules(rules) if rules.rules else flat

    def rules(self, reference: Mapping[str, Any]) -> Rules:
        """The rules, given the values at `reads` on the baseline."""
        found: dict[Any, Rule] = {}
        for key, (step, propagate) in self.steps.items():
            if all(is_differentiable(reference[output]) for output in _output(step, propagate)):
                found[key] = _rule(propagate, [reference[name] for name in step.reads])
        return Rules(found, name="rescale")


def _propagation(step: Step, active: Collection[str]) -> Propagate | None:
    """How a layer propagates of which the `active` inputs change; None where its true gradient is right."""
    layer = innermost(step.layer)
    taken = uses(step, active)
    if isinstance(layer, Function) and name_of(layer) == "setitem" and _changes(layer.args[1], step, active):
        return chosen  # the places are a mask of what changes
    if taken == 0 or is_linear(layer) or getattr(layer, "return_indices", False):
        return None
    if is_product(layer) or name_of(layer) in ("where", "masked_fill"):
        return None if taken == 1 else product(taken) if is_product(layer) else chosen
    if isinstance(layer, Divide) and layer.args[1:] and not _changes(layer.args[1], step, active):
        return None
    if has_pieces(layer):
        return by_pieces
    kinds = (propagate for kind, propagate in _TYPES.items() if isinstance(layer, kind))
    return next(kinds, _NAMES.get(name_of(layer), along_path))


def _changes(argument: Any, step: Step, active: Collection[str]) -> bool:
    return isinstance(argument, Slot) and step.reads[argument.index] in active


def by_pieces(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Any
) -> Sequence[Tensor | None]:
    """The multipliers of a layer that is known piece by piece: those of the network of its pieces."""
    network, values = pieces_of(layer, inputs)
    _, before = pieces_of(layer, tensors(reference))
    plan = Rescale.of(network, (OUTPUT,))
    with torch.no_grad():
        recorded = network.program.run(before, plan.reads)
    return through_pieces(plan.view(network, recorded), values, inputs, gradient)


def _output(step: Step, propagate: Propagate) -> tuple[str, ...]:
    """The key of a layer that nothing is known of: rules need it to give one tensor of real numbers."""
    return (step.key,) if propagate is along_path else ()


def _rule(propagate: Propagate, reference: Sequence[Any]) -> Rule:
    # the reference has the rows of the batch that it was made for
    return Rule(
        lambda layer, inputs, output, gradient: propagate(layer, inputs, reference, gradient),
        splits=False,
        several=propagate is by_pieces,
    )

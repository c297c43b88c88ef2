"""The rescale rule of DeepLIFT for every layer: multipliers, which explain the change of the output by its inputs.

One run on the baseline records the values that the nonlinear layers read. With their rules, a backward run computes
multipliers in place of gradients. For each layer, the sum of multiplier * change over its inputs equals the sum over
its outputs, however large the change is. So the same holds for the whole network. A layer without a derivative may
miss a part of the change; the function `missed` is told how much.

Shrikumar et al. 2017, https://arxiv.org/abs/1704.02685
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netlens.flat import FlatModel
from netlens.flat.keys import OUTPUT
from netlens.flat.layers import Divide, Function, LogSumExp, Multiply, Wrapper
from netlens.flat.operations import innermost, is_linear, is_product, name_of, operation_of
from netlens.flat.rules import Rule, Rules, is_differentiable, vjp
from netlens.flat.running import Step
from netlens.memo import Memo
from netlens.rules._calls import Propagate, tensors
from netlens.rules._dependence import Dependence, carrying, is_discrete, slots, uses
from netlens.rules._norms import NAMES, NORMS, norm
from netlens.rules._path import Estimated, along_path
from netlens.rules._pooling import POOLS, largest, max_pool
from netlens.rules._products import chosen, larger, product, quotient
from netlens.rules._secant import exponential, secant
from netlens.rules._softmax import SOFTMAXES, log_sum, softmax
from netlens.rules.pieces import has_pieces, pieces_of, run_pieces, through_pieces
from netlens.rules.selections import SELECTIONS, selection

Missed = Callable[[str, Tensor | None], None]
"""A function that gets the key of a layer, and the change that its multipliers miss, by row (None: unknown)."""


def copied(layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Any) -> Sequence[Tensor]:
    """The multipliers of a copy that stops gradients, such as `x.detach()`. The copy changes as its input does."""
    return (gradient.to(inputs[0].dtype),)


def extreme(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Any
) -> Sequence[Tensor | None]:
    """The multipliers of `max` and `min`: of two tensors element by element, or of the values of one tensor."""
    return (larger if len(inputs) == 2 else selection)(layer, inputs, reference, gradient)


_TYPES: dict[type[nn.Module], Propagate] = {
    **dict.fromkeys(POOLS, max_pool),
    **dict.fromkeys(NORMS, norm),
    **dict.fromkeys(SOFTMAXES, softmax),
    Divide: quotient,
    LogSumExp: log_sum,
}
_NAMES: dict[str, Propagate] = {
    **dict.fromkeys(("exp", "expm1"), exponential),
    **dict.fromkeys(NAMES, norm),
    **dict.fromkeys(SELECTIONS, selection),
    **dict.fromkeys(("max", "min"), extreme),
    **dict.fromkeys(("maximum", "minimum"), larger),
    **dict.fromkeys(("where", "masked_fill"), chosen),
    **dict.fromkeys(("amax", "amin"), largest),
    "logsumexp": log_sum,
}
_BY_INDEX = frozenset(
    ["getitem", "gather", "index_select", "take_along_dim", "take", "select", "narrow", "repeat_interleave"]
)
"""Functions that select a part of a tensor by index. No gradient shows the effect of an index."""


def rescale(flat: FlatModel, baseline: Tensor, until: Sequence[str] = (OUTPUT,)) -> Rules:
    """The rules that compare a batch with `baseline`, of the same shape. The run on the baseline ends at `until`."""
    plan = Rescale.of(flat, flat.keys_of(until))
    with torch.no_grad():
        return plan.rules(flat.run({flat.inputs[0]: baseline}, plan.reads))


@dataclass(frozen=True)
class Planned:
    """The step of a layer, and how it propagates.

    Args:
        step: The step.
        propagate: The multipliers of the layer; None if its true gradient is right.
        maybe_discrete: The keys that the step reads whose values may be integers or booleans that depend on the input.
        handles_masks: Whether `propagate` is right for masks.
        anchor: The key of the real values from which the integers or booleans are computed, if the step reads no other
            values that depend on the input. Else None.
    """

    step: Step
    propagate: Propagate | None
    maybe_discrete: frozenset[str]
    handles_masks: bool
    anchor: str | None

    @property
    def reads(self) -> tuple[str, ...]:
        """The keys whose values on the baseline the rule needs."""
        return self.step.reads if self.anchor is None else (*self.step.reads, self.anchor)

    def propagation(self, reference: Mapping[str, Any]) -> Propagate | None:
        """How the layer propagates, given the values of `reads` on the baseline."""
        return self.propagate if self.handles_masks or all(self._is_real(reference)) else along_path

    def is_blind(self, reference: Mapping[str, Any]) -> bool:
        """Whether the layer reads integers or booleans only, so that no gradient reaches the input through it."""
        return self.anchor is not None and not any(self._is_real(reference))

    def _is_real(self, reference: Mapping[str, Any]) -> list[bool]:
        return [is_differentiable(leaf) for key in self.maybe_discrete for leaf in pytree.tree_leaves(reference[key])]


@dataclass(frozen=True)
class Rescale:
    """The layers that need a rule, their rules, and the values on the baseline that these rules need."""

    steps: Mapping[str, Planned]

    @classmethod
    def of(cls, flat: FlatModel, until: Sequence[str], wrt: str | None = None) -> Rescale:
        """The plan for the layers between `wrt` (None: all inputs) and the exact keys `until`. It is made once."""
        return _PLANS.of(flat, (tuple(until), wrt), lambda: cls._plan(flat, until, wrt))

    @classmethod
    def _plan(cls, flat: FlatModel, until: Sequence[str], wrt: str | None) -> Rescale:
        keys = [key for name in until for key in (flat.program.outputs if name == OUTPUT else (name,))]
        reached = flat.program.reached(flat.inputs if wrt is None else [wrt])
        active, steps = Dependence(flat.inputs, reached), {}  # sizes do not change with the input
        live = carrying(flat.program, flat.inputs)
        for step, _ in flat.program.schedule(flat.inputs, tuple(keys)):
            if not active.follow(step) or step.hidden or step.key not in reached or step.key == wrt:
                continue
            propagate, maybe_discrete = _propagation(step, active.keys, active.keys - live), active.maybe_discrete(step)
            if propagate is not None or (maybe_discrete and not is_discrete(step.layer)):
                handles_masks = getattr(propagate, "func", propagate) is chosen or (
                    propagate is not None and isinstance(innermost(step.layer), Multiply)
                )
                steps[step.key] = Planned(
                    step, propagate, maybe_discrete, handles_masks, active.anchor(step) if maybe_discrete else None
                )
        return cls(steps)

    @property
    def reads(self) -> list[str]:
        """The keys to record on the baseline."""
        return list(dict.fromkeys(key for planned in self.steps.values() for key in planned.reads))

    def view(self, flat: FlatModel, reference: Mapping[str, Any], missed: Missed | None = None) -> FlatModel:
        """`flat` with these rules. If no layer needs a rule, it is `flat` itself."""
        rules = self.rules(reference, missed)
        if not rules.rules:
            return flat
        blind = {key: planned for key, planned in self.steps.items() if planned.is_blind(reference)}
        if blind:
            steps = [
                replace(step, layer=_Anchored(step.layer), reads=blind[step.key].reads) if step.key in blind else step
                for step in flat.program.steps
            ]
            anchored = flat.edited(replace(flat.program, steps=tuple(steps)))
            anchored.origin, flat = flat.origin, anchored
        return flat.with_rules(rules)

    def rules(self, reference: Mapping[str, Any], missed: Missed | None = None) -> Rules:
        """The rules for these values of `reads` on the baseline. The backward run calls `missed` for some layers."""
        rules: dict[Any, Rule] = {}
        for key, planned in self.steps.items():
            propagate = planned.propagation(reference)
            reads = planned.reads if planned.is_blind(reference) else planned.step.reads
            if propagate is not None:
                rules[key] = _rule(key, propagate, [reference[name] for name in reads], missed)
        return Rules(rules, name="rescale")


_PLANS: Memo[FlatModel, Rescale] = Memo()


class _Anchored(Wrapper):
    """A layer that reads only masks and indices. It also gets the real values behind them, which have a gradient."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    @property
    def inner(self) -> nn.Module:
        return self.layer

    def forward(self, *reads: Any) -> Any:
        return self.layer(*reads[:-1])


def _propagation(step: Step, active: Collection[str], jumping: Set[str]) -> Propagate | None:
    """How a layer propagates if its inputs with the keys `active` change. None if its true gradient is right.

    `jumping` are the active keys whose values change only in jumps, such as a mask. They have no derivative.
    """
    layer = innermost(step.layer)
    name = name_of(layer)
    count = uses(step, active)
    if isinstance(layer, Function) and name == "setitem" and _changes(layer.args[1], step, active):
        return chosen  # the index is a mask that depends on the input
    if isinstance(layer, Function) and name in _BY_INDEX and _changes(layer.args[1:], step, active):
        return along_path
    if name == "detach" or (name == "getattr" and isinstance(layer, Function) and layer.args[1] == "data"):
        return copied
    if count == 0 or is_linear(layer) or is_discrete(layer):
        return None
    # a product with a mask, such as x * (x > 0).float()
    if isinstance(layer, Multiply) and count > 1 and not jumping.isdisjoint(step.reads):
        return partial(chosen, numbers=[index for index, key in enumerate(step.reads) if key in jumping])
    if is_product(layer) or name in ("where", "masked_fill"):
        return None if count == 1 else product(count) if is_product(layer) else chosen
    if isinstance(layer, Divide) and layer.args[1:] and not _changes(layer.args[1], step, active):
        return None
    if has_pieces(layer):
        return by_pieces
    if operation_of(layer).curve is not None:
        return secant
    kinds = (propagate for kind, propagate in _TYPES.items() if isinstance(layer, kind))
    return next(kinds, _NAMES.get(name, along_path))


def _changes(argument: Any, step: Step, active: Collection[str]) -> bool:
    return any(step.reads[slot.index] in active for slot in slots(argument))


def by_pieces(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Any
) -> Sequence[Tensor | None]:
    """The multipliers of a layer whose pieces netlens knows, from the network of these pieces."""
    network, values = pieces_of(layer, inputs)
    _, reference_values = pieces_of(layer, tensors(reference))
    plan = Rescale.of(network, (OUTPUT,))
    with torch.no_grad():
        recorded = run_pieces(network, reference_values, plan.reads)
    return through_pieces(plan.view(network, recorded), values, inputs, gradient)


def _rule(key: str, propagate: Propagate, reference: Sequence[Any], missed: Missed | None) -> Rule:
    shapes = [value.shape for value in tensors(reference)]

    def backward(layer: nn.Module, inputs: Sequence[Tensor], output: Any, gradient: Any) -> Sequence[Tensor | None]:
        if [value.shape for value in inputs] != shapes:  # for example, because a mask selects other entries
            with torch.enable_grad():
                multipliers: Sequence[Tensor | None] = vjp(layer(*inputs), inputs, gradient)
            multipliers = Estimated(multipliers, None)
        else:
            multipliers = propagate(layer, inputs, reference, gradient)
        if isinstance(multipliers, Estimated) and missed is not None:
            missed(key, multipliers.gap)
        return multipliers

    # the reference holds all rows of a batch, so the rule does not fit a part of the batch
    return Rule(backward, graph=False, splits=False, several=True)

"""The rescale rule of DeepLIFT for every layer: multipliers that turn the change of inputs into that of the output.

One run on the baseline records what the layers that are not linear read. Their rules then turn the gradient of any run
into multipliers. For each layer, the sum of multiplier * change over its inputs equals the sum over its outputs,
whatever the size of the change. So the multipliers of a whole network are exact, too. `missed` gets the change that a
layer without a derivative loses.

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
from netlens.rules.pieces import has_pieces, pieces_of, run, through_pieces
from netlens.rules.selections import SELECTIONS, selection

Missed = Callable[[str, Tensor | None], None]
"""A function that gets the key of a layer whose multipliers miss a part of its change, and that part if it is known."""


def copied(layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Any) -> Sequence[Tensor]:
    """The multipliers of a copy without a gradient, such as `x.detach()`, which changes as its input does."""
    return (gradient.to(inputs[0].dtype),)


def extreme(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Any
) -> Sequence[Tensor | None]:
    """The multipliers of `max` and `min`, of two tensors or within one."""
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
"""Functions that select a part of a tensor. No gradient shows the effect of an index that depends on the input."""


def rescale(flat: FlatModel, baseline: Tensor, until: Sequence[str] = (OUTPUT,)) -> Rules:
    """The rules that explain a batch against `baseline`, of the same shape. The run on it ends at `until`."""
    plan = Rescale.of(flat, flat.keys_of(until))
    with torch.no_grad():
        return plan.rules(flat.run({flat.inputs[0]: baseline}, plan.reads))


@dataclass(frozen=True)
class Planned:
    """The step of a layer, and how it propagates.

    `propagate` is None for the true gradient. `whole` are the keys that it reads whose values may be integers or
    booleans that depend on the input. `masks` says whether its rule handles masks. If all values that it reads from the
    input may be integers or booleans, `anchor` is the key of the real values from which they were computed.
    """

    step: Step
    propagate: Propagate | None
    whole: frozenset[str]
    masks: bool
    anchor: str | None

    @property
    def reads(self) -> tuple[str, ...]:
        return self.step.reads if self.anchor is None else (*self.step.reads, self.anchor)

    def on(self, reference: Mapping[str, Any]) -> Propagate | None:
        """How the layer propagates, for these values on the baseline."""
        return self.propagate if self.masks or all(self._real(reference)) else along_path

    def is_blind(self, reference: Mapping[str, Any]) -> bool:
        """Whether the layer reads no real numbers that depend on the input."""
        return self.anchor is not None and not any(self._real(reference))

    def _real(self, reference: Mapping[str, Any]) -> list[bool]:
        return [is_differentiable(leaf) for key in self.whole for leaf in pytree.tree_leaves(reference[key])]


@dataclass(frozen=True)
class Rescale:
    """The layers that need a rule, their rules, and the values on the baseline that these rules need."""

    steps: Mapping[str, Planned]

    @classmethod
    def of(cls, flat: FlatModel, until: Sequence[str], wrt: str | None = None) -> Rescale:
        """The plan for the layers between `wrt` (by default all inputs) and the exact keys `until`, made once."""
        return _PLANS.of(flat, (tuple(until), wrt), lambda: cls._of(flat, until, wrt))

    @classmethod
    def _of(cls, flat: FlatModel, until: Sequence[str], wrt: str | None) -> Rescale:
        wanted = [key for name in until for key in (flat.program.outputs if name == OUTPUT else (name,))]
        after = flat.program.reached(flat.inputs if wrt is None else [wrt])
        active, steps = Dependence(flat.inputs, after), {}  # sizes do not change with the input
        live = carrying(flat.program, flat.inputs)
        for step, _ in flat.program.schedule(flat.inputs, tuple(wanted)):
            if not active.takes(step) or step.hidden or step.key not in after or step.key == wrt:
                continue
            propagate, whole = _propagation(step, active.keys, active.keys - live), active.whole(step)
            if propagate is not None or (whole and not is_discrete(step.layer)):
                masks = getattr(propagate, "func", propagate) is chosen or (
                    propagate is not None and isinstance(innermost(step.layer), Multiply)
                )
                steps[step.key] = Planned(step, propagate, whole, masks, active.anchor(step) if whole else None)
        return cls(steps)

    @property
    def reads(self) -> list[str]:
        """The keys to record on the baseline."""
        return list(dict.fromkeys(key for planned in self.steps.values() for key in planned.reads))

    def view(self, flat: FlatModel, reference: Mapping[str, Any], missed: Missed | None = None) -> FlatModel:
        """`flat` with these rules. A linear network needs none."""
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
        """The rules for these values of `reads` on the baseline. The backward run calls `missed`."""
        rules: dict[Any, Rule] = {}
        for key, planned in self.steps.items():
            propagate = planned.on(reference)
            reads = planned.reads if planned.is_blind(reference) else planned.step.reads
            if propagate is not None:
                rules[key] = _rule(key, propagate, [reference[name] for name in reads], missed)
        return Rules(rules, name="rescale")


_PLANS: Memo[FlatModel, Rescale] = Memo()


class _Anchored(Wrapper):
    """A layer of masks and indices only. It also reads the values behind them, so that a gradient reaches it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    @property
    def inner(self) -> nn.Module:
        return self.layer

    def forward(self, *reads: Any) -> Any:
        return self.layer(*reads[:-1])


def _propagation(step: Step, active: Collection[str], jumping: Set[str]) -> Propagate | None:
    """How a layer propagates if its `active` inputs change. None if its true gradient is right.

    `jumping` are those active inputs that have no derivative, such as a mask.
    """
    layer = innermost(step.layer)
    name = name_of(layer)
    taken = uses(step, active)
    if isinstance(layer, Function) and name == "setitem" and _changes(layer.args[1], step, active):
        return chosen  # a mask gives the places, and it depends on the input
    if isinstance(layer, Function) and name in _BY_INDEX and _changes(layer.args[1:], step, active):
        return along_path
    if name == "detach" or (name == "getattr" and isinstance(layer, Function) and layer.args[1] == "data"):
        return copied
    if taken == 0 or is_linear(layer) or is_discrete(layer):
        return None
    if isinstance(layer, Multiply) and taken > 1 and not jumping.isdisjoint(step.reads):  # x * (x > 0).float()
        return partial(chosen, numbers=[place for place, key in enumerate(step.reads) if key in jumping])
    if is_product(layer) or name in ("where", "masked_fill"):
        return None if taken == 1 else product(taken) if is_product(layer) else chosen
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
    """The multipliers of a layer whose pieces are known: those of the network of its pieces."""
    network, values = pieces_of(layer, inputs)
    _, before = pieces_of(layer, tensors(reference))
    plan = Rescale.of(network, (OUTPUT,))
    with torch.no_grad():
        recorded = run(network, before, plan.reads)
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

    # the reference holds the rows of one batch, so the rule does not fit a part of it
    return Rule(backward, graph=False, splits=False, several=True)

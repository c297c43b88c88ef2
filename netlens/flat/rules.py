"""Rules: chosen layers propagate backwards by a rule of your own, on a view of the same weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from netlens.errors import NetLensError, NotApplicable
from netlens.flat.bound import Bound
from netlens.flat.guard import guarded, is_misread
from netlens.flat.keys import LayerKey
from netlens.flat.layers import Wrapper
from netlens.flat.memo import Memo
from netlens.flat.operations import is_kind
from netlens.flat.program import Program
from netlens.flat.unrolled import Unrolled

Backward = Callable[[nn.Module, Sequence[Tensor], Any, Any], Sequence[Tensor | None]]


@dataclass(frozen=True)
class Rule:
    """How a layer propagates backwards.

    backward: called as `backward(layer, inputs, output, gradient)` with the layer's tensor inputs, its output, both
    in a graph of their own, and the gradient at the output; gives one gradient (or None) per input. `vjp` is the true
    one. `layer(*inputs)` is always the layer's value at these inputs: what else it read, such as sizes, is bound to it.
    Inputs that need a gradient require one. graph: whether it uses that graph; a rule that does not spares its layer
    the memory, and is asked even where the layer has no true gradient (`x.detach()`), which else carries nothing back.
    splits: whether what it gives a sample is of that sample alone, so that a batch may be run in parts. name: how it
    is shown. several: whether it serves layers of several outputs, too; their output and gradient come as the layer
    gives them (a tuple, a named tuple), the gradient None for what is no real or complex number or what nothing reads.
    Without it, such layers keep their true gradient.
    """

    backward: Backward
    graph: bool = True
    name: str = ""
    splits: bool = True
    several: bool = False

    def __repr__(self) -> str:
        return self.name or f"Rule({getattr(self.backward, '__name__', type(self.backward).__name__)})"


@dataclass(frozen=True, eq=False)
class Rules:
    """Which layers follow which rule: by type, key, path or glob; of several that match, the last one counts.

    Not to be changed after its first use: a network remembers the program that a set of rules made of its own.
    """

    rules: Mapping[LayerKey | tuple[type[nn.Module], ...], Rule]
    name: str = "rules"

    def __post_init__(self) -> None:
        if not isinstance(self.rules, Mapping):
            raise NetLensError(f"rules are a mapping of layers to Rule, not a {type(self.rules).__name__}.")
        for which, rule in self.rules.items():
            if not isinstance(rule, Rule):
                raise NetLensError(f"the rule of {which!r} is a {type(rule).__name__}, but must be a Rule; wrap it.")

    def program_of(self, flat: Unrolled) -> Program:
        """The program of `flat` with the chosen layers by rule; raises `NotApplicable` if no layer is chosen."""
        made = _PROGRAMS.setdefault(flat, WeakKeyDictionary())
        if self not in made:
            made[self] = self._program(flat)
        return made[self]

    def _program(self, flat: Unrolled) -> Program:
        chosen: dict[str, Rule] = {}
        for which, rule in self.rules.items():
            for key in self._keys(flat, which):
                chosen[key] = rule
        if not chosen:
            kinds = sorted({type(layer).__name__ for layer in flat.layers.values()})
            whole = ", ".join(map(repr, flat.opaque))
            likely = f" It may lie inside what no rule reaches, the opaque {whole}: see flat.opaque." if whole else ""
            raise NotApplicable(
                f"{self.name}: {flat.name} has no layer it changes; its types: {', '.join(kinds)}.{likely}"
            )
        steps = tuple(
            replace(step, layer=Ruled(step.layer, chosen[step.key])) if step.key in chosen else step
            for step in flat.program.steps
        )
        return replace(flat.program, steps=steps)

    @staticmethod
    def _keys(flat: Unrolled, which: LayerKey | tuple[type[nn.Module], ...]) -> list[str]:
        if isinstance(which, (type, tuple)):
            return [key for key, layer in flat.layers.items() if is_kind(layer, which)]
        return flat.find(which)


# a method that runs many times on one network would otherwise make and schedule the same program each time
_PROGRAMS: Memo[Unrolled, WeakKeyDictionary[Rules, Program]] = Memo()


class Ruled(Wrapper):
    """A layer with its own forward and the backward of a rule, which takes the place of an earlier rule."""

    def __init__(self, layer: nn.Module, rule: Rule) -> None:
        super().__init__()
        self.layer: nn.Module = layer.layer if isinstance(layer, Ruled) else layer
        self.rule = rule

    @property
    def inner(self) -> nn.Module:
        return self.layer

    def forward(self, *reads: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.layer(*reads)
        layer, inputs = self.layer, list(reads)
        if not all(isinstance(value, Tensor) for value in reads):
            leaves, structure = pytree.tree_flatten(reads)
            inputs = [value for value in leaves if isinstance(value, Tensor)]
            layer = Bound(self.layer, leaves, structure)
        if not any(value.requires_grad for value in inputs):
            return self.layer(*reads)
        # the layer's own small graph is kept, so that a rule can use the true derivative without running it again
        own = [value.detach().requires_grad_(value.requires_grad) for value in inputs]
        with torch.set_grad_enabled(self.rule.graph):
            output = layer(*own)
        if isinstance(output, PackedSequence):
            raise NotApplicable(
                f"a packed sequence, as a layer of type {type(self.inner).__name__} gives it, has no rule; give the "
                "network sequences of one length, or take a method that needs gradients alone."
            )
        if isinstance(output, Tensor):
            return (
                _ByRule.apply(self.rule, layer, own, output, None, *inputs)[0]
                if self._takes(output)
                else _constant(output)
            )
        if not self.rule.several:
            return self.layer(*reads)  # several outputs have no one gradient that such a rule could take
        parts, outer = pytree.tree_flatten(output)
        places = [i for i, part in enumerate(parts) if self._takes(part)]
        if places:
            given = _ByRule.apply(self.rule, layer, own, output, places, *inputs)
            for i, part in zip(places, given, strict=True):
                parts[i] = part
        return pytree.tree_unflatten(
            [part if i in places else _constant(part) for i, part in enumerate(parts)],
            outer,
        )

    def _takes(self, part: Any) -> bool:
        """Whether a part of the output can have a gradient that the rule takes."""
        return is_differentiable(part) and (part.requires_grad or not self.rule.graph)


class _ByRule(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rule: Rule,
        layer: nn.Module,
        own: list[Tensor],
        output: Any,
        places: list[int] | None,
        *inputs: Tensor,
    ) -> tuple[Tensor, ...]:
        """places: those of the parts of the output that have a gradient; None where it is one tensor."""
        ctx.rule, ctx.layer, ctx.own, ctx.output, ctx.places = rule, layer, own, output, places
        ctx.set_materialize_grads(False)
        if places is None:
            return (output.detach(),)
        parts = pytree.tree_leaves(output)
        return tuple(parts[place].detach() for place in places)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        if all(gradient is None for gradient in gradients):  # a rule further up gave this layer nothing
            return (None,) * len(ctx.needs_input_grad)
        gradient = gradients[0]
        if ctx.places is not None:
            parts, outer = pytree.tree_flatten(ctx.output)
            at = dict(zip(ctx.places, gradients, strict=True))
            gradient = pytree.tree_unflatten([at.get(i) for i in range(len(parts))], outer)
        given = ctx.layer, ctx.own, ctx.output, gradient
        # a rule may call its layer anew
        propagated = guarded(ctx.rule.backward, *given) if is_misread(ctx.layer) else ctx.rule.backward(*given)
        return None, None, None, None, None, *propagated


def is_differentiable(value: Any) -> bool:
    """Whether a value is a tensor of real or complex numbers, which can have a gradient."""
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def _constant(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def vjp(output: Any, inputs: Sequence[Tensor], gradient: Any) -> tuple[Tensor | None, ...]:
    """The true gradients at `inputs`, given the gradient at `output`: a tensor each, or several as a layer gives them.

    What does not depend on an input carries nothing back to it: None.
    """
    pairs = [(output, gradient)]
    if not isinstance(output, Tensor):
        pairs = list(zip(pytree.tree_leaves(output), pytree.tree_leaves(gradient), strict=True))
    reached = [(part, at) for part, at in pairs if at is not None and isinstance(part, Tensor) and part.requires_grad]
    wanted = [value for value in inputs if value.requires_grad]
    if not reached or not wanted:
        return (None,) * len(inputs)
    parts, at = zip(*reached, strict=True)
    found = iter(torch.autograd.grad(parts, wanted, at, retain_graph=True, allow_unused=True))
    return tuple(next(found) if value.requires_grad else None for value in inputs)

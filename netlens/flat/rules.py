"""Rules: chosen layers propagate backwards by a rule of your own, on a view of the same weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from netlens.errors import NetLensError, NotApplicable
from netlens.flat.keys import LayerKey
from netlens.flat.layers import Wrapper, is_kind

if TYPE_CHECKING:
    from netlens.flat.model import FlatModel
    from netlens.flat.program import Program

Backward = Callable[[nn.Module, Sequence[Tensor], Tensor, Tensor], Sequence[Tensor | None]]

RECTIFIERS: tuple[type[nn.Module], ...] = (
    *(nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Threshold),
    *(nn.ELU, nn.CELU, nn.SELU, nn.Softplus, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish),
)


@dataclass(frozen=True)
class Rule:
    """How a layer propagates backwards.

    backward: called as `backward(layer, inputs, output, gradient)` with the layer's tensor inputs, its output, both
    in a graph of their own, and the gradient at the output; gives one gradient (or None) per input. `vjp` is the true
    one. graph: whether it uses that graph; a rule that does not spares its layer the memory. splits: whether what it
    gives a sample is of that sample alone, so that a batch may be run in parts. name: how it is shown.
    """

    backward: Backward
    graph: bool = True
    name: str = ""
    splits: bool = True

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

    def apply(self, flat: FlatModel) -> FlatModel:
        """A view of `flat` whose chosen layers propagate by rule; `NotApplicable` if no layer is chosen."""
        made = _PROGRAMS.setdefault(flat, WeakKeyDictionary())
        if self not in made:
            made[self] = self._program(flat)
        return flat.edited(made[self])

    def _program(self, flat: FlatModel) -> Program:
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
    def _keys(flat: FlatModel, which: LayerKey | tuple[type[nn.Module], ...]) -> list[str]:
        if isinstance(which, (type, tuple)):
            return [key for key, layer in flat.layers.items() if is_kind(layer, which)]
        return flat.find(which)


# a method that runs many times on one network would otherwise make and schedule the same program each time
_PROGRAMS: WeakKeyDictionary[FlatModel, WeakKeyDictionary[Rules, Program]] = WeakKeyDictionary()


class Ruled(Wrapper):
    """A layer with its own forward and the backward of a rule, which takes the place of an earlier rule."""

    def __init__(self, layer: nn.Module, rule: Rule) -> None:
        super().__init__()
        self.layer: nn.Module = layer.layer if isinstance(layer, Ruled) else layer
        self.rule = rule

    @property
    def inner(self) -> nn.Module:
        return self.layer

    def forward(self, *inputs: Any) -> Any:
        needed = [isinstance(value, Tensor) and value.requires_grad for value in inputs]
        if not torch.is_grad_enabled() or not any(needed):
            return self.layer(*inputs)
        # the layer's own small graph is kept, so that a rule can use the true derivative without running it again
        with torch.set_grad_enabled(self.rule.graph):
            own = [
                value.detach().requires_grad_(wanted and self.rule.graph) if isinstance(value, Tensor) else value
                for value, wanted in zip(inputs, needed, strict=True)
            ]
            output = self.layer(*own)
        if not isinstance(output, Tensor) or not output.is_floating_point():
            return self.layer(*inputs)  # several outputs have no one gradient that a rule could take
        return _ByRule.apply(self, own, output, *inputs)


class _ByRule(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ruled: Ruled, own: list[Any], output: Tensor, *inputs: Any) -> Tensor:
        ctx.ruled, ctx.own, ctx.output = ruled, own, output
        ctx.set_materialize_grads(False)
        return output.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        if gradients[0] is None:  # a rule further up gave this layer nothing
            return (None,) * len(ctx.needs_input_grad)
        tensors = [value for value in ctx.own if isinstance(value, Tensor)]
        propagated = iter(ctx.ruled.rule.backward(ctx.ruled.layer, tensors, ctx.output, gradients[0]))
        return None, None, None, *(next(propagated) if isinstance(value, Tensor) else None for value in ctx.own)


def vjp(output: Tensor, inputs: Sequence[Tensor], gradient: Tensor) -> tuple[Tensor | None, ...]:
    """The true gradients at `inputs`, given the gradient at `output`."""
    wanted = [value for value in inputs if value.requires_grad]
    found = iter(torch.autograd.grad(output, wanted, gradient, retain_graph=True, allow_unused=True))
    return tuple(next(found) if value.requires_grad else None for value in inputs)

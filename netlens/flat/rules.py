"""Rules: in a view with rules, some layers propagate backwards by a rule instead of the true gradient."""

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
from netlens.flat._unrolled import Unrolled
from netlens.flat.keys import LayerKey
from netlens.flat.layers import Bound, Wrapper
from netlens.flat.opacity import about_opaque
from netlens.flat.operations import is_kind
from netlens.flat.running import Program, guarded, is_misread
from netlens.memo import Memo

Backward = Callable[[nn.Module, Sequence[Tensor], Any, Any], Sequence[Tensor | None]]


@dataclass(frozen=True)
class Rule:
    """How a layer propagates backwards.

    Args:
        backward: A function `backward(layer, inputs, output, gradient)` that returns one gradient, or None, per input.
            `inputs` are the input tensors of the layer and `output` is its output; both lie in a small graph that holds
            only this layer. `gradient` is the gradient at the output. `layer(*inputs)` runs the layer on these tensors;
            all other values that the layer reads, such as sizes, stay the same. `vjp` returns the true gradients.
        graph: Whether the rule differentiates the small graph. If not, the graph takes no memory, and the rule also
            works for layers without a true gradient, such as `x.detach()`.
        name: The name in messages and in `repr`.
        splits: Whether the gradients of a sample depend on that sample alone, so that a batch may run in chunks.
        several: Whether the rule also applies to layers with several outputs. Then `output` and `gradient` have the
            structure of the layer's output (a tuple, a named tuple; a list for a container that drops None). The
            gradient is None for an output that is not a real or complex tensor, and for an output that no layer reads.
            If False, such layers keep their true gradient.

    Example:
        >>> halved = Rule(lambda layer, inputs, output, gradient: vjp(output, inputs, gradient / 2), name="halved")
        >>> halved
        halved
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
    """A set of rules: it says which layers follow which rule.

    Do not change the mapping after its first use, because each flat model keeps the program that it made from it.

    Args:
        rules: Rules by layer. A layer is given by a module type, a tuple of types, a key, a path, a glob or an index.
            If several entries match a layer, the last one counts.
        name: The name in messages.

    Raises:
        NetLensError: `rules` is not a mapping, or one of its values is not a `Rule`.

    Example:
        >>> from netlens.flat import FlatModel
        >>> flat = FlatModel.from_nn_Module(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
        >>> view = flat.with_rules(Rules({nn.ReLU: Rule(lambda layer, inputs, output, gradient: (gradient,))}))
        >>> x = torch.ones(1, 2, requires_grad=True)
        >>> view(x).sum().backward()
        >>> torch.allclose(x.grad[0], flat.layers["0"].weight.sum(0))
        True
    """

    rules: Mapping[LayerKey | tuple[type[nn.Module], ...], Rule]
    name: str = "rules"

    def __post_init__(self) -> None:
        if not isinstance(self.rules, Mapping):
            raise NetLensError(f"rules must be a mapping from layers to Rule, not a {type(self.rules).__name__}.")
        for which, rule in self.rules.items():
            if not isinstance(rule, Rule):
                raise NetLensError(f"the rule of {which!r} is a {type(rule).__name__}, but must be a Rule; wrap it.")

    def program_of(self, flat: Unrolled) -> Program:
        """The program of `flat` in which the layers that match follow their rules.

        Raises:
            NotApplicable: No layer matches.
        """
        programs = _PROGRAMS.of(flat, None, WeakKeyDictionary)
        if self not in programs:
            programs[self] = self._program(flat)
        return programs[self]

    def _program(self, flat: Unrolled) -> Program:
        rule_by_key: dict[str, Rule] = {}
        for which, rule in self.rules.items():
            for key in self._keys(flat, which):
                rule_by_key[key] = rule
        if not rule_by_key:
            kinds = sorted({type(layer).__name__ for layer in flat.layers.values()})
            hint = about_opaque(flat, "no rule reaches them")
            raise NotApplicable(f"{self.name}: no layer of {flat.name} matches; its types: {', '.join(kinds)}.{hint}")
        steps = tuple(
            replace(step, layer=Ruled(step.layer, rule_by_key[step.key])) if step.key in rule_by_key else step
            for step in flat.program.steps
        )
        return replace(flat.program, steps=steps)

    @staticmethod
    def _keys(flat: Unrolled, which: LayerKey | tuple[type[nn.Module], ...]) -> list[str]:
        if isinstance(which, (type, tuple)):
            return [key for key, layer in flat.layers.items() if is_kind(layer, which)]
        return flat.find(which)


# a method may run many times on one network; the memo saves the time to make and schedule the same program again
_PROGRAMS: Memo[Unrolled, WeakKeyDictionary[Rules, Program]] = Memo()


class Ruled(Wrapper):
    """A layer whose forward is unchanged and whose backward follows a rule. A new rule replaces an earlier one."""

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
        layer, inputs = self._bound(self.layer, reads)
        if not any(value.requires_grad for value in inputs):
            return self.layer(*reads)
        # the small graph stays in memory, so that a rule can use the true derivative without a second run of the layer
        leaf_inputs = [value.detach().requires_grad_(value.requires_grad) for value in inputs]
        with torch.set_grad_enabled(self.rule.graph):
            output = layer(*leaf_inputs)
        if isinstance(output, PackedSequence):
            raise NotApplicable(
                f"the output of a layer of type {type(self.inner).__name__} is a packed sequence, which has no rule; "
                "give the network sequences of one length, or choose a method that needs only gradients."
            )
        if isinstance(output, Tensor):
            return (
                _ByRule.apply(self.rule, layer, leaf_inputs, output, None, *inputs)[0]
                if self._serves(output)
                else _constant(output)
            )
        if not self.rule.several:
            return self.layer(*reads)  # such a rule takes one gradient, but several outputs have several gradients
        outputs, structure = pytree.tree_flatten(output)
        if not _holds_none(structure):
            # the gradients of outputs that nobody reads are None, so the rule sees the outputs in a plain list
            layer, output = self._bound(_Listed(self.layer), reads)[0], list(outputs)
        indices = [i for i, tensor in enumerate(outputs) if self._serves(tensor)]
        if indices:
            ruled_outputs = _ByRule.apply(self.rule, layer, leaf_inputs, output, indices, *inputs)
            for i, tensor in zip(indices, ruled_outputs, strict=True):
                outputs[i] = tensor
        return pytree.tree_unflatten(
            [tensor if i in indices else _constant(tensor) for i, tensor in enumerate(outputs)],
            structure,
        )

    @staticmethod
    def _bound(layer: nn.Module, reads: Sequence[Any]) -> tuple[nn.Module, list[Tensor]]:
        """The layer as a function of tensors alone, and these tensors."""
        if all(isinstance(value, Tensor) for value in reads):
            return layer, list(reads)
        leaves, structure = pytree.tree_flatten(tuple(reads))
        return Bound(layer, leaves, structure), [value for value in leaves if isinstance(value, Tensor)]

    def _serves(self, output: Any) -> bool:
        """Whether the rule applies to this output of the layer."""
        return is_differentiable(output) and (output.requires_grad or not self.rule.graph)


class _Listed(Wrapper):
    """A layer that gives its outputs in a list, whatever container its code makes of them."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    @property
    def inner(self) -> nn.Module:
        return self.layer

    def forward(self, *reads: Any) -> list[Any]:
        leaves: list[Any] = pytree.tree_leaves(self.layer(*reads))
        return leaves


def _holds_none(structure: pytree.TreeSpec) -> bool:
    """Whether a container keeps the place of a None. The outputs of transformers drop it."""
    count = structure.num_leaves
    try:
        return len(pytree.tree_leaves(pytree.tree_unflatten([None] * count, structure))) == count
    except Exception:  # the code of a container may refuse None in any way
        return False


class _ByRule(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rule: Rule,
        layer: nn.Module,
        leaf_inputs: list[Tensor],
        output: Any,
        indices: list[int] | None,
        *inputs: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return the outputs with a gradient: `output` itself if `indices` is None, else its leaves at `indices`."""
        ctx.rule, ctx.layer, ctx.leaf_inputs, ctx.output, ctx.indices = rule, layer, leaf_inputs, output, indices
        ctx.set_materialize_grads(False)
        if indices is None:
            return (output.detach(),)
        leaves = pytree.tree_leaves(output)
        return tuple(leaves[index].detach() for index in indices)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        if all(gradient is None for gradient in gradients):  # the rule of a later layer gives this layer no gradient
            return (None,) * len(ctx.needs_input_grad)
        gradient = gradients[0]
        if ctx.indices is not None:
            leaves, structure = pytree.tree_flatten(ctx.output)
            by_index = dict(zip(ctx.indices, gradients, strict=True))
            gradient = pytree.tree_unflatten([by_index.get(i) for i in range(len(leaves))], structure)
        arguments = ctx.layer, ctx.leaf_inputs, ctx.output, gradient
        # a rule may call its layer again, so it needs the guard, too
        propagated = guarded(ctx.rule.backward, *arguments) if is_misread(ctx.layer) else ctx.rule.backward(*arguments)
        return None, None, None, None, None, *propagated


def is_differentiable(value: Any) -> bool:
    """Whether a value can have a gradient, because it is a tensor of real or complex numbers."""
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def _constant(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def vjp(output: Any, inputs: Sequence[Tensor], gradient: Any) -> tuple[Tensor | None, ...]:
    """The true gradients at the inputs of a layer: the vector-Jacobian product.

    Args:
        output: The output of the layer, with its graph: a tensor, or several tensors in a tuple or another structure.
        inputs: The input tensors.
        gradient: The gradient at the output, in the structure and shapes of `output`.

    Returns:
        One gradient per input, in the shape of the input. It is None if the input requires no gradient, or if the
        output does not depend on it.

    Example:
        >>> x = torch.tensor([1.0, 3.0], requires_grad=True)
        >>> vjp(x**2, [x], torch.tensor([1.0, 10.0]))
        (tensor([ 2., 60.]),)
    """
    pairs = [(output, gradient)]
    if not isinstance(output, Tensor):
        pairs = list(zip(pytree.tree_leaves(output), pytree.tree_leaves(gradient), strict=True))
    pairs = [
        (tensor, g) for tensor, g in pairs if g is not None and isinstance(tensor, Tensor) and tensor.requires_grad
    ]
    leaves = [value for value in inputs if value.requires_grad]
    if not pairs or not leaves:
        return (None,) * len(inputs)
    outputs, output_gradients = zip(*pairs, strict=True)
    propagated = iter(torch.autograd.grad(outputs, leaves, output_gradients, retain_graph=True, allow_unused=True))
    return tuple(next(propagated) if value.requires_grad else None for value in inputs)

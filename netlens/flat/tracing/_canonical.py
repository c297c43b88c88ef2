"""Canonicalization: an operation that a network writes out in several steps becomes one layer of the usual type.

The search starts at the last step of a formula. It goes backwards and collects steps until all of them depend on a
single activation. Then it compares the function of these steps with the usual layers at probe inputs. So every spelling
of an operation is recognized. A learned parameter is never a number of a formula, because training would change it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from netlens.flat import layers
from netlens.flat.layers import Constant, Function, Written
from netlens.flat.operations import RECTIFIERS
from netlens.flat.running import Step
from netlens.flat.tracing._formulas import elementwise, reduction

MAX_STEPS = 32
"""The largest number of steps in one formula."""

# the steps that may be part of a formula, by the names of their functions
_AFFINE = "add sub rsub subtract mul multiply truediv div divide true_divide neg negative"
_ENDING = """
    pow abs exp log log1p reciprocal maximum minimum fmax fmin max min logaddexp where masked_fill setitem clamp clip
    clamp_min clamp_max square sqrt
"""
_CASTING = "to float double half bfloat16 type type_as"
_MAKING = "zeros_like ones_like full_like new_zeros new_ones new_full new_tensor"
_RESHAPING = "clone contiguous expand expand_as unsqueeze squeeze getitem reshape view getattr"
_REDUCING = "sum mean var std amax amin max min logsumexp var_mean std_mean log_softmax softmax norm vector_norm"
_INSIDE = """
    exp2 expm1 log2 log10 rsqrt erf erfc sin cos sign sgn heaviside special_erf special_expit special_log1p tanh sigmoid
    softplus logsigmoid relu relu6 gelu silu hardsigmoid gt lt ge le eq ne greater less greater_equal less_equal
    logical_and logical_or logical_not logical_xor and_ or_ xor invert bitwise_not bitwise_and bitwise_or zeros ones
    full tensor scalar_tensor detach float_power
"""
_CASTS, _MAKERS, _REDUCTIONS, _RESHAPES = (
    frozenset(names.split()) for names in (_CASTING, _MAKING, _REDUCING, _RESHAPING)
)
_ENDS = {*_AFFINE.split(), *_ENDING.split()}
_FUNCTIONS = _ENDS | _CASTS | _MAKERS | _REDUCTIONS | _RESHAPES | {*_INSIDE.split()}
_STRAIGHT = {*_AFFINE.split(), *_RESHAPES, *_CASTS}
_ACTIVATIONS = (
    *(kind for kind in RECTIFIERS if kind is not nn.PReLU),
    *(nn.Sigmoid, nn.Tanh, nn.Hardsigmoid, nn.Softsign, nn.LogSigmoid, layers.Clamp, layers.ClampFromZero),
)
_SOFTMAXES = nn.Softmax, nn.LogSoftmax
_MODULES = frozenset((*_ACTIVATIONS, *_SOFTMAXES, nn.Identity, nn.Dropout))


def canonical(steps: Sequence[Step], outputs: Collection[str], numbers: Collection[str] = ()) -> tuple[Step, ...]:
    """Canonicalize a program: each written-out operation becomes one layer, with the key of its last step.

    The inner values of the formula disappear. So if another step reads one of them, the formula stays unchanged.

    Args:
        steps: The steps of the program.
        outputs: The keys of the outputs.
        numbers: The keys of the constants that the forward itself makes.

    Returns:
        The steps with the new layers. Steps that are no longer needed remain.
    """
    graph = Graph(steps, outputs, numbers)
    replacements: dict[str, Step] = {}
    inner_keys: set[str] = set()
    for step in reversed(steps):
        if not step.hidden and step.key not in inner_keys and may_end(step.layer):
            formula = graph.formula(step)
            if formula is not None:
                replacements[step.key], keys = formula
                inner_keys |= keys
    return tuple(replacements.get(step.key, step) for step in steps) if replacements else tuple(steps)


@dataclass(frozen=True)
class _Region:
    """Steps that compute a value from one other value, the root.

    Args:
        root: The key of the root.
        steps: The steps, in their order.
        reductions: The number of steps that are reductions.
    """

    root: str
    steps: tuple[Step, ...]
    reductions: int

    def equivalent(self) -> nn.Module | None:
        """The usual layer that computes the same as these steps; None if there is none."""
        with torch.inference_mode(False):  # the comparison needs derivatives, but the caller may be in inference mode
            if not self.reductions:
                return elementwise(self.run)
            numbers = [number for step in self.steps for number in _numbers(step.layer)]
            return reduction(self.run, dict.fromkeys(_dims(self.steps)), numbers)

    def contains(self, layer: nn.Module) -> bool:
        """Whether a layer of this type is one of the steps, as in `1.0 * relu(x)`. Then a replacement is useless."""
        return any(isinstance(step.layer, type(layer)) for step in self.steps)

    def run(self, x: Tensor) -> Tensor | None:
        """The value of these steps for x, where casts keep the type of x. None if they fail, or give no tensor."""
        values: dict[str, Any] = {self.root: x}
        try:
            for step in self.steps:
                inputs = [values[key] for key in step.reads]
                cast = not step.hidden and _name(step.layer) in _CASTS
                values[step.key] = inputs[0].to(x.dtype) if cast else step.layer(*inputs)
        except (RuntimeError, IndexError, TypeError, ValueError, AttributeError):
            return None
        value = values[self.steps[-1].key]
        return value if isinstance(value, Tensor) else None


class Graph:
    """The steps of a program by key, with their positions and the number of readers of each value."""

    def __init__(self, steps: Sequence[Step], outputs: Collection[str], numbers: Collection[str]) -> None:
        self.steps = {step.key: step for step in steps}
        self.positions = {step.key: position for position, step in enumerate(steps)}
        self.readers = Counter(key for step in steps for key in set(step.reads)) + Counter(outputs)
        self.numbers = frozenset(numbers)

    def formula(self, end: Step) -> tuple[Step, set[str]] | None:
        """The step that replaces the formula that ends with `end`, and the keys of the activations that disappear.

        If several regions match, the one with the most reductions counts; of several such regions, the shortest. For
        example, a softmax that first subtracts the maximum contains a shorter region that is a softmax, too.
        """
        best: _Region | None = None
        equivalent: nn.Module | None = None
        for region in self.regions(end):
            if best is None or region.reductions > best.reductions:
                layer = region.equivalent()
                if layer is not None and not region.contains(layer):
                    best, equivalent = region, layer
        if best is None or equivalent is None:
            return None
        indices = {best.root: 0, **{step.key: i + 1 for i, step in enumerate(best.steps)}}
        reads = [[indices[key] for key in step.reads] for step in best.steps]
        written = Written(equivalent.eval(), [step.layer for step in best.steps], reads)
        return replace(end, layer=written, reads=(best.root,)), {step.key for step in best.steps if _activates(step)}

    def regions(self, end: Step) -> Iterator[_Region]:
        """The regions that end with `end`, the smallest first. The root of each is a dominator of `end`."""
        region: list[Step] = []
        readers_inside: Counter[str] = Counter()
        frontier: dict[str, int] = {}
        reductions, nonlinear, single, step = 0, False, False, end
        while True:
            region.append(step)
            reductions += _reduces(step)
            nonlinear |= len(step.reads) > 1 or _name(step.layer) not in _STRAIGHT
            for key in set(step.reads):
                readers_inside[key] += 1
                source = self.steps.get(key)
                if source is None or source.reads or not self.joins(source):
                    frontier[key] = self.positions.get(key, -1)
                elif source not in region:
                    region.append(source)
            if not frontier:
                return
            latest = max(frontier, key=lambda key: frontier[key])
            source_step = self.steps.get(latest)
            is_number = source_step is not None and (source_step.hidden or isinstance(source_step.layer, Constant))
            # a single step is a layer already, and a reshape at the start of a region changes nothing
            redundant = len(region) == 1 or (single and _name(step.layer) in _RESHAPES)
            single = len(frontier) == 1
            if nonlinear and single and not (is_number or redundant):
                yield _Region(latest, tuple(sorted(region, key=lambda step: self.positions[step.key])), reductions)
            if source_step is None or not self.joins(source_step) or len(region) > MAX_STEPS:
                return
            if _activates(source_step) and self.readers[latest] > readers_inside[latest]:
                return  # a step outside of the formula reads an inner value
            del frontier[latest]
            step = source_step

    def joins(self, step: Step) -> bool:
        """Whether a step may be part of a formula."""
        if step.hidden:
            return not step.guard
        if isinstance(step.layer, Constant):
            return step.key in self.numbers and step.layer.value.numel() == 1
        return _name(step.layer) in _FUNCTIONS or type(step.layer) in _MODULES


def _name(layer: nn.Module) -> str:
    return getattr(layer.function, "__name__", "") if isinstance(layer, Function) else ""


def may_end(layer: nn.Module) -> bool:
    """Whether this layer may be the last step of a formula. A module of the network may not; it is a layer already."""
    return _name(layer) in _ENDS or isinstance(layer, (layers.Clamp, layers.ClampFromZero))


def _activates(step: Step) -> bool:
    """Whether a step computes an activation, and not a size or a constant."""
    return bool(step.reads) and not step.hidden and _name(step.layer) not in _MAKERS


def _reduces(step: Step) -> bool:
    name = _name(step.layer)
    return isinstance(step.layer, _SOFTMAXES) or (name in _REDUCTIONS and len(step.reads) == 1)


def _dims(steps: Sequence[Step]) -> Iterator[tuple[int, ...]]:
    """The dimensions of each reduction."""
    for step in steps:
        layer = step.layer
        if isinstance(layer, _SOFTMAXES):
            yield (layer.dim,)  # type: ignore[misc]
        elif isinstance(layer, Function) and _reduces(step):
            dim = layer.kwargs.get("dim", layer.kwargs.get("axis", layer.args[1] if len(layer.args) > 1 else None))
            dims = (dim,) if isinstance(dim, int) else dim
            if isinstance(dims, (tuple, list)) and dims and all(isinstance(dim, int) for dim in dims):
                yield tuple(dims)


def _numbers(layer: nn.Module) -> Iterator[float]:
    """The numbers in the call of a layer. One of them may be the epsilon of a formula."""
    if isinstance(layer, Constant):
        yield float(layer.value)
    elif isinstance(layer, Function):
        yield from (float(arg) for arg in (*layer.args, *layer.kwargs.values()) if isinstance(arg, float))

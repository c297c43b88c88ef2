"""Canonical forms: an operation that a network writes out becomes one layer, known as what it computes.

Steps are joined backwards from a step until they all follow from one activation. What they compute from it is compared
with the known layers at probes, so that no spelling needs to be listed. A learned parameter is no number: training
would change what is computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from netlens.flat import formulas, layers
from netlens.flat.layers import Constant, Function
from netlens.flat.operations import RECTIFIERS
from netlens.flat.step import Step
from netlens.flat.written import Written

MOST = 32
"""Steps of one formula."""

# by the names of their functions
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
    """The steps with each written-out operation as one layer, at the key of its last step.

    numbers: the keys of constants that the forward itself makes. What a formula computes on its way to its end goes
    away with it, so it stays as it is where somebody else reads that.
    """
    program = _Graph(steps, outputs, numbers)
    found: dict[str, Step] = {}
    gone: set[str] = set()
    for step in reversed(steps):
        if not step.hidden and step.key not in gone and _ends(step.layer):
            formula = program.formula(step)
            if formula is not None:
                found[step.key], inner = formula
                gone |= inner
    return tuple(found.get(step.key, step) for step in steps) if found else tuple(steps)


@dataclass(frozen=True)
class _Region:
    """Steps in their order, the last of which follows from the value at `root`, and how many of them are reductions."""

    root: str
    steps: tuple[Step, ...]
    reductions: int

    def known(self) -> nn.Module | None:
        """The known layer that these steps compute."""
        with torch.inference_mode(False):  # a network may be flattened within it, and derivatives are compared
            if not self.reductions:
                return formulas.elementwise(self.run)
            numbers = [number for step in self.steps for number in _numbers(step.layer)]
            return formulas.reduction(self.run, dict.fromkeys(_dims(self.steps)), numbers)

    def has(self, known: nn.Module) -> bool:
        """Whether such a layer is one of the steps, as in `1.0 * relu(x)`: the others then spell nothing."""
        return any(isinstance(step.layer, type(known)) for step in self.steps)

    def run(self, x: Tensor) -> Tensor | None:
        """The value for x, in its type throughout; None where these steps do not take a tensor of its shape."""
        values: dict[str, Any] = {self.root: x}
        try:
            for step in self.steps:
                read = [values[key] for key in step.reads]
                cast = not step.hidden and _name(step.layer) in _CASTS
                values[step.key] = read[0].to(x.dtype) if cast else step.layer(*read)
        except (RuntimeError, IndexError, TypeError, ValueError, AttributeError):
            return None
        found = values[self.steps[-1].key]
        return found if isinstance(found, Tensor) else None


class _Graph:
    """The steps of a program, and who reads whom."""

    def __init__(self, steps: Sequence[Step], outputs: Collection[str], numbers: Collection[str]) -> None:
        self.steps = {step.key: step for step in steps}
        self.places = {step.key: place for place, step in enumerate(steps)}
        self.readers = Counter(key for step in steps for key in set(step.reads)) + Counter(outputs)
        self.numbers = frozenset(numbers)

    def formula(self, end: Step) -> tuple[Step, set[str]] | None:
        """The step that stands for the operation that ends here, and the keys of the steps that go away with it.

        Of several ways to read it, the one with most reductions counts, or else the shortest: what is left of a softmax
        once the maximum is subtracted is a softmax, too.
        """
        best: _Region | None = None
        known: nn.Module | None = None
        for region in self.regions(end):
            if best is None or region.reductions > best.reductions:
                found = region.known()
                if found is not None and not region.has(found):
                    best, known = region, found
        if best is None or known is None:
            return None
        numbers = {best.root: 0, **{step.key: i + 1 for i, step in enumerate(best.steps)}}
        reads = [[numbers[key] for key in step.reads] for step in best.steps]
        written = Written(known.eval(), [step.layer for step in best.steps], reads)
        return replace(end, layer=written, reads=(best.root,)), {step.key for step in best.steps if _carries(step)}

    def regions(self, end: Step) -> Iterator[_Region]:
        """What leads to a step from a single value, the nearest first."""
        found: list[Step] = []
        inside: Counter[str] = Counter()
        frontier: dict[str, int] = {}
        reductions, bends, alone, step = 0, False, False, end
        while True:
            found.append(step)
            reductions += _reduces(step)
            bends |= len(step.reads) > 1 or _name(step.layer) not in _STRAIGHT
            for key in set(step.reads):
                inside[key] += 1
                other = self.steps.get(key)
                if other is None or other.reads or not self.joins(other):
                    frontier[key] = self.places.get(key, -1)
                elif other not in found:
                    found.append(other)
            if not frontier:
                return
            latest = max(frontier, key=lambda key: frontier[key])
            before = self.steps.get(latest)
            sized = before is not None and (before.hidden or isinstance(before.layer, Constant))
            # a single step is known by itself, and what comes of a reshape is what comes of what it reads
            same = len(found) == 1 or (alone and _name(step.layer) in _RESHAPES)
            alone = len(frontier) == 1
            if bends and alone and not (sized or same):
                yield _Region(latest, tuple(sorted(found, key=lambda step: self.places[step.key])), reductions)
            if before is None or not self.joins(before) or len(found) > MOST:
                return
            if _carries(before) and self.readers[latest] > inside[latest]:
                return  # somebody else reads what this formula computes on its way
            del frontier[latest]
            step = before

    def joins(self, step: Step) -> bool:
        """Whether a step may be part of a formula."""
        if step.hidden:
            return not step.guard
        if isinstance(step.layer, Constant):
            return step.key in self.numbers and step.layer.value.numel() == 1
        return _name(step.layer) in _FUNCTIONS or type(step.layer) in _MODULES


def _name(layer: nn.Module) -> str:
    return getattr(layer.function, "__name__", "") if isinstance(layer, Function) else ""


def _ends(layer: nn.Module) -> bool:
    """Whether a formula may end with a layer; never with a module of the network's, which has a name of its own."""
    return _name(layer) in _ENDS or isinstance(layer, (layers.Clamp, layers.ClampFromZero))


def _carries(step: Step) -> bool:
    """Whether a step computes something of an activation, and not a size or a constant."""
    return bool(step.reads) and not step.hidden and _name(step.layer) not in _MAKERS


def _reduces(step: Step) -> bool:
    name = _name(step.layer)
    return isinstance(step.layer, _SOFTMAXES) or (name in _REDUCTIONS and len(step.reads) == 1)


def _dims(steps: Sequence[Step]) -> Iterator[tuple[int, ...]]:
    """The dimensions that the reductions name."""
    for step in steps:
        layer = step.layer
        if isinstance(layer, _SOFTMAXES):
            yield (layer.dim,)  # type: ignore[misc]
        elif isinstance(layer, Function) and _reduces(step):
            given = layer.kwargs.get("dim", layer.kwargs.get("axis", layer.args[1] if len(layer.args) > 1 else None))
            dims = (given,) if isinstance(given, int) else given
            if isinstance(dims, (tuple, list)) and dims and all(isinstance(dim, int) for dim in dims):
                yield tuple(dims)


def _numbers(layer: nn.Module) -> Iterator[float]:
    """The numbers in a step: what an epsilon is found among."""
    if isinstance(layer, Constant):
        yield float(layer.value)
    elif isinstance(layer, Function):
        yield from (float(arg) for arg in (*layer.args, *layer.kwargs.values()) if isinstance(arg, float))

"""Which values of a program depend on the input, and which of these change only in jumps, such as integers.

A value that depends only on the shape of the input does not count.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from netlens.flat.layers import Call, Function, Opaque, Slot, Wrapper
from netlens.flat.operations import Trait, innermost, is_linear, name_of, operation_of
from netlens.flat.running import Program, Step

_PICKS = ("getitem", "getattr")


def uses(step: Step, active: Collection[str]) -> int:
    """How many arguments of a step's call are `active` values. In `x * x`, one value counts twice.

    If the layer reads an activation only for its shape or type, the activation does not count.
    """
    layer = step.layer
    while isinstance(layer, Wrapper) and not isinstance(layer, Call):
        layer = layer.inner
    if isinstance(layer, (Function, Call, Opaque)):
        args = layer.args[1:] if operation_of(layer).has(Trait.CONSTANT) else layer.args
        return sum(step.reads[slot.index] in active for slot in slots([*args, *layer.kwargs.values()]))
    return sum(key in active for key in step.reads)


def carrying(program: Program, keys: Iterable[str]) -> set[str]:
    """These keys, and the keys of all layers that depend on them through real numbers.

    A mask such as `x > 0` is not real, and neither are indices.
    """
    carrying_keys, with_indices = set(keys), set()
    for step in program.steps:
        if step.hidden or not uses(step, carrying_keys):
            continue
        if has_indices(step.layer):
            with_indices.add(step.key)
        indices = Dependence.picked(step) in (1, "indices") and step.reads[0] in with_indices
        if not (indices or is_discrete(step.layer)):
            carrying_keys.add(step.key)
    return carrying_keys


def slots(template: Any) -> Iterator[Slot]:
    """The slots for inputs in the arguments of a call."""
    if isinstance(template, Slot):
        yield template
    elif isinstance(template, (tuple, list)):
        for item in template:
            yield from slots(item)
    elif isinstance(template, dict):
        yield from slots(list(template.values()))
    elif isinstance(template, slice):
        yield from slots([template.start, template.stop, template.step])


def is_discrete(layer: nn.Module) -> bool:
    """Whether all outputs of a layer are integers or booleans, as far as its name and arguments show."""
    inner = innermost(layer)
    if operation_of(inner).has(Trait.DISCRETE):
        return True
    arguments = [*inner.args, *inner.kwargs.values()] if isinstance(inner, Function) else []
    types = [value for value in arguments if isinstance(value, torch.dtype)]
    return any(not kind.is_floating_point and not kind.is_complex for kind in types)


def is_stepwise(layer: nn.Module) -> bool:
    """Whether the outputs of a layer are real numbers that change only in jumps, such as signs."""
    return operation_of(layer).has(Trait.STEPS)


def has_indices(layer: nn.Module) -> bool:
    """Whether the output of a layer is a tuple of values and their indices."""
    inner = innermost(layer)
    row = operation_of(inner)
    if getattr(inner, "return_indices", False) is True or row.has(Trait.INDICES):
        return True
    if not isinstance(inner, Function) or not row.has(Trait.INDICES_ALONG):
        return False
    # without a dimension, or with two tensors, these functions return values only
    return "dim" in inner.kwargs or (len(inner.args) > 1 and isinstance(inner.args[1], int))


class Dependence:
    """Final: follows the steps of a program. It knows which keys depend on the inputs.

    Args:
        inputs: The keys of the inputs.
        reached: The keys among which an anchor is searched; see `anchor`.
    """

    def __init__(self, inputs: Iterable[str], reached: Collection[str]) -> None:
        self.keys, self.reached = set(inputs), reached
        self._maybe_discrete: set[str] = set()
        self._with_indices: set[str] = set()
        self._anchors: dict[str, str | None] = {}

    def follow(self, step: Step) -> bool:
        """Add the next step, and say whether it depends on the inputs.

        Sizes do not depend on them. Python numbers that come from an activation do.
        """
        active = [key for key in step.reads if key in self.keys]
        if step.hidden:
            if not operation_of(step.layer).has(Trait.NUMBER) and self._maybe_discrete.isdisjoint(active):
                return False
        elif not uses(step, self.keys):
            return False
        self.keys.add(step.key)
        if step.hidden or self._may_be_discrete(step, active):
            self._maybe_discrete.add(step.key)
            real = (key for key in active if key not in self._maybe_discrete and key in self.reached)
            self._anchors[step.key] = next(real, next((self._anchors.get(key) for key in active), None))
        if has_indices(step.layer):
            self._with_indices.add(step.key)
        return True

    def maybe_discrete(self, step: Step) -> frozenset[str]:
        """The keys that a step reads whose values may be integers or booleans that depend on the inputs."""
        picks = self.picked(step) is not None  # the step selects an unchanged output
        return frozenset(() if picks else self._maybe_discrete.intersection(step.reads))

    def anchor(self, step: Step) -> str | None:
        """The key of the real values from which the integers or booleans that a step reads are computed.

        None if the step also reads real values that depend on the inputs.
        """
        active = [key for key in step.reads if key in self.keys]
        return self._anchors.get(active[0]) if self._maybe_discrete.issuperset(active) else None

    def _may_be_discrete(self, step: Step, active: Collection[str]) -> bool:
        layer = innermost(step.layer)
        if is_discrete(layer) or has_indices(layer) or isinstance(layer, Opaque):
            return True
        if self.picked(step) in (0, "values") and step.reads[0] in self._with_indices:
            return False
        weighs = next(layer.parameters(), None) is not None
        return (
            self._maybe_discrete.issuperset(active) and not weighs and (isinstance(layer, Function) or is_linear(layer))
        )

    @staticmethod
    def picked(step: Step) -> Any:
        """The index or name that a step takes from the value that it reads, as in `x.max(1)[0]`. None for others."""
        layer = innermost(step.layer)
        if not isinstance(layer, Function) or name_of(layer) not in _PICKS or len(step.reads) != 1:
            return None
        which = layer.args[1]
        return which if isinstance(which, int) or which in ("values", "indices") else None

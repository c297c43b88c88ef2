"""The values that depend on the input, and those that do so in jumps, as integers. Shapes do not count."""

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
    """How often the call of a step reads one of the `active` values. `x * x` reads one value twice.

    A constant with the shape or type of an activation does not count.
    """
    layer = step.layer
    while isinstance(layer, Wrapper) and not isinstance(layer, Call):
        layer = layer.inner
    if isinstance(layer, (Function, Call, Opaque)):
        args = layer.args[1:] if operation_of(layer).has(Trait.CONSTANT) else layer.args
        return sum(step.reads[slot.index] in active for slot in slots([*args, *layer.kwargs.values()]))
    return sum(key in active for key in step.reads)


def carrying(program: Program, keys: Iterable[str]) -> set[str]:
    """These keys and all layers that depend on them by real numbers. A mask `x > 0` and indices do not."""
    found, with_indices = set(keys), set()
    for step in program.steps:
        if step.hidden or not uses(step, found):
            continue
        if has_indices(step.layer):
            with_indices.add(step.key)
        indices = Dependence.picked(step) in (1, "indices") and step.reads[0] in with_indices
        if not (indices or is_discrete(step.layer)):
            found.add(step.key)
    return found


def slots(template: Any) -> Iterator[Slot]:
    """The places of inputs in the arguments of a call."""
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
    """Whether the name of a layer shows that it gives only integers or booleans."""
    inner = innermost(layer)
    if operation_of(inner).has(Trait.DISCRETE):
        return True
    given = [*inner.args, *inner.kwargs.values()] if isinstance(inner, Function) else []
    types = [value for value in given if isinstance(value, torch.dtype)]
    return any(not kind.is_floating_point and not kind.is_complex for kind in types)


def is_level(layer: nn.Module) -> bool:
    """Whether the name of a layer shows that it gives real numbers that change only in jumps, such as signs."""
    return operation_of(layer).has(Trait.STEPS)


def has_indices(layer: nn.Module) -> bool:
    """Whether a layer gives values and their indices, as a tuple."""
    inner = innermost(layer)
    row = operation_of(inner)
    if getattr(inner, "return_indices", False) is True or row.has(Trait.INDICES):
        return True
    if not isinstance(inner, Function) or not row.has(Trait.INDICES_ALONG):
        return False
    # over all elements, and for two tensors, these functions give values alone
    return "dim" in inner.kwargs or (len(inner.args) > 1 and isinstance(inner.args[1], int))


class Dependence:
    """Final: follows a program step by step. It knows which keys depend on the inputs, and which may hold integers."""

    def __init__(self, inputs: Iterable[str], after: Collection[str]) -> None:
        self.keys, self.after = set(inputs), after
        self._whole: set[str] = set()
        self._with_indices: set[str] = set()
        self._anchors: dict[str, str | None] = {}

    def takes(self, step: Step) -> bool:
        """Whether the next step depends on the inputs. Sizes do not, but numbers from an activation do."""
        active = [key for key in step.reads if key in self.keys]
        if step.hidden:
            if not operation_of(step.layer).has(Trait.NUMBER) and self._whole.isdisjoint(active):
                return False
        elif not uses(step, self.keys):
            return False
        self.keys.add(step.key)
        if step.hidden or self._may_be_whole(step, active):
            self._whole.add(step.key)
            real = (key for key in active if key not in self._whole and key in self.after)
            self._anchors[step.key] = next(real, next((self._anchors.get(key) for key in active), None))
        if has_indices(step.layer):
            self._with_indices.add(step.key)
        return True

    def whole(self, step: Step) -> frozenset[str]:
        """The keys that a step reads whose values may hold integers or booleans that depend on the inputs."""
        picks = self.picked(step) is not None  # one of several outputs, unchanged
        return frozenset(() if picks else self._whole.intersection(step.reads))

    def anchor(self, step: Step) -> str | None:
        """The key of the real values behind the integers or booleans of a step. None if the step reads real values."""
        active = [key for key in step.reads if key in self.keys]
        return self._anchors.get(active[0]) if self._whole.issuperset(active) else None

    def _may_be_whole(self, step: Step, active: Collection[str]) -> bool:
        layer = innermost(step.layer)
        if is_discrete(layer) or has_indices(layer) or isinstance(layer, Opaque):
            return True
        if self.picked(step) in (0, "values") and step.reads[0] in self._with_indices:
            return False
        weighs = next(layer.parameters(), None) is not None
        return self._whole.issuperset(active) and not weighs and (isinstance(layer, Function) or is_linear(layer))

    @staticmethod
    def picked(step: Step) -> Any:
        """Which of several outputs a step selects. None if the step does anything else."""
        layer = innermost(step.layer)
        if not isinstance(layer, Function) or name_of(layer) not in _PICKS or len(step.reads) != 1:
            return None
        which = layer.args[1]
        return which if isinstance(which, int) or which in ("values", "indices") else None

"""What depends on the input, and what does so in jumps, as integers; not what is made of an activation's shape."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from netlens.flat.layers import Call, Function, Opaque, Slot, Wrapper
from netlens.flat.program import Program, Step
from netlens.rules.calls import innermost, name_of
from netlens.rules.linear import is_linear

_LIKE = """
    zeros_like ones_like full_like empty_like rand_like randn_like randint_like new_zeros new_ones new_full new_empty
    new_tensor new_empty_strided new
"""
_CONSTANTS = frozenset(_LIKE.split())
_WHOLE = """
    eq ne lt le gt ge equal greater greater_equal less less_equal not_equal isnan isinf isfinite isclose isposinf
    isneginf logical_and logical_or logical_not logical_xor argmax argmin argsort nonzero argwhere one_hot bool int long
    short byte char bucketize searchsorted multinomial bincount count_nonzero any all signbit
"""
_DISCRETE = frozenset(_WHOLE.split())
_SIGNS = frozenset(["sign", "sgn", "heaviside"])
_NUMBERS = ("item", "tolist")
_PICKS = ("getitem", "getattr")
_WITH_INDICES = frozenset(["sort", "topk", "kthvalue", "mode", "cummax", "cummin"])
_WITH_INDICES_ALONG = frozenset(["max", "min", "median", "nanmedian"])


def uses(step: Step, active: Collection[str]) -> int:
    """How often the call that a step makes takes one of the `active` values; `x * x` takes one value twice.

    A constant of the shape or type of an activation takes nothing of it.
    """
    layer = step.layer
    while isinstance(layer, Wrapper) and not isinstance(layer, Call):
        layer = layer.inner
    if isinstance(layer, (Function, Call, Opaque)):
        args = layer.args[1:] if name_of(layer) in _CONSTANTS else layer.args
        return sum(step.reads[slot.index] in active for slot in slots([*args, *layer.kwargs.values()]))
    return sum(key in active for key in step.reads)


def carrying(program: Program, keys: Iterable[str]) -> set[str]:
    """These keys and all layers that depend on them by real numbers, as a mask `x > 0` and indices do not."""
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
    """Whether a layer gives integers or booleans alone, by its name."""
    inner = innermost(layer)
    if name_of(inner) in _DISCRETE:
        return True
    given = [*inner.args, *inner.kwargs.values()] if isinstance(inner, Function) else []
    types = [value for value in given if isinstance(value, torch.dtype)]
    return any(not kind.is_floating_point and not kind.is_complex for kind in types)


def is_level(layer: nn.Module) -> bool:
    """Whether a layer gives real numbers that change in jumps alone, such as signs, by its name."""
    return name_of(innermost(layer)) in _SIGNS


def has_indices(layer: nn.Module) -> bool:
    """Whether a layer gives values and their indices, as a tuple."""
    inner = innermost(layer)
    if getattr(inner, "return_indices", False) is True or name_of(inner) in _WITH_INDICES:
        return True
    if not isinstance(inner, Function) or name_of(inner) not in _WITH_INDICES_ALONG:
        return False
    # over all elements and of two tensors they give values alone
    return "dim" in inner.kwargs or (len(inner.args) > 1 and isinstance(inner.args[1], int))


class Dependence:
    """Follows a program step by step: which keys depend on the inputs, and which of these may hold whole numbers."""

    def __init__(self, inputs: Iterable[str], after: Collection[str]) -> None:
        self.keys, self.after = set(inputs), after
        self._whole: set[str] = set()
        self._with_indices: set[str] = set()
        self._anchors: dict[str, str | None] = {}

    def takes(self, step: Step) -> bool:
        """Whether a step, the next one, depends on the inputs; sizes do not, but numbers do that an activation held."""
        active = [key for key in step.reads if key in self.keys]
        if step.hidden:
            if name_of(step.layer) not in _NUMBERS and self._whole.isdisjoint(active):
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
        """The keys that a step reads of which some may hold integers or booleans that depend on the inputs."""
        picks = self.picked(step) is not None  # one of several outputs, unchanged
        return frozenset(() if picks else self._whole.intersection(step.reads))

    def anchor(self, step: Step) -> str | None:
        """Where no real number leads to a step: what the integers or booleans that it reads were made of."""
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
        """Which of several outputs a step takes, if that is all it does."""
        layer = innermost(step.layer)
        if not isinstance(layer, Function) or name_of(layer) not in _PICKS or len(step.reads) != 1:
            return None
        which = layer.args[1]
        return which if isinstance(which, int) or which in ("values", "indices") else None

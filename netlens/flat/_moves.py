"""Steps that only move values, and what they do to the dimensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from netlens.flat.layers import Function, Permute, Reshape, Select, Slot
from netlens.flat.operations import Trait, innermost, is_kind, name_of, operation_of
from netlens.flat.running import Program, Step


def without_moves(program: Program, key: str, passes: Callable[[Step], bool] | None = None) -> Step | None:
    """The step that computes a value, before its rearrangements and the steps that `passes` accepts."""
    steps = {step.key: step for step in program.steps}
    at = steps.get(key)
    while at is not None and (rearranges(at, steps) or (passes is not None and passes(at))):
        at = steps.get(at.reads[0])
    return at


def rearranges(step: Step, steps: Mapping[str, Step]) -> bool:
    """Whether a step only moves the values of one tensor, or changes their type."""
    inner = innermost(step.layer)
    if not step.reads or any(key in steps and not steps[key].hidden for key in step.reads[1:]):
        return False
    if len(step.reads) > 2 or (len(step.reads) == 2 and not _first_size_is_samples(inner)):
        return False
    if isinstance(inner, Select):
        return not any(isinstance(item, (Tensor, Slot)) for item in index_of(inner))
    if is_kind(inner, (nn.Flatten, nn.Unflatten, nn.Identity)) or operation_of(inner).has(Trait.KEEPS | Trait.CASTS):
        return True
    return isinstance(inner, (Reshape, Permute)) or name_of(inner) in {"flatten", "unflatten", "transpose"}


def _first_size_is_samples(layer: nn.Module) -> bool:
    """Whether the second value that a reshape reads is its first size: the number of samples."""
    if not isinstance(layer, Reshape):
        return False
    sizes = layer.args[1] if len(layer.args) == 2 and isinstance(layer.args[1], (tuple, list)) else layer.args[1:]
    return bool(sizes) and sizes[0] == Slot(1) and not any(isinstance(size, Slot) for size in sizes[1:])


def merges_samples(layer: nn.Module) -> bool:
    """Whether the layer drops the dimension of the samples when there is only one sample."""
    if not isinstance(layer, Function) or name_of(layer) != "squeeze":
        return False
    dims = [*layer.args[1:], *layer.kwargs.values()]
    return not dims or dims == [0]


def index_of(layer: Function) -> tuple[Any, ...]:
    index = layer.args[1] if len(layer.args) > 1 else ()
    return index if isinstance(index, tuple) else (index,)

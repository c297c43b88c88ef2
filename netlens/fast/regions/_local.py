"""Local layers: those whose output at a place depends on the input near it, and how each of them runs on patches."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from netlens.fast.regions._sliding import Sliding
from netlens.flat.layers import Apply, Concatenate, Function, Permute, Slot
from netlens.flat.operations import Reach, Trait, has_known_forward, innermost, operation_of
from netlens.flat.running import Step

_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass(frozen=True)
class Form:
    """How a step runs on patches. Patches always have their channels first.

    Args:
        last: Whether the maps that the step reads have their channels last, as within the blocks of ConvNeXt.
        turned: Whether the step only moves the channels from first to last, or back.
        sliding: The window that the step slides over maps; None if it slides none.
    """

    last: bool = False
    turned: bool = False
    sliding: Sliding | None = None


class Layouts:
    """The forms of the steps that can run on patches, and the keys of the maps that have their channels last.

    The layout of maps follows from the maps that change, never from other values that a layer reads.
    """

    def __init__(self) -> None:
        self.last: set[str] = set()
        self.forms: dict[str, Form] = {}

    def local(self, step: Step, changed: Collection[str], shapes: Mapping[str, Any]) -> bool:
        """Whether a step can run on patches of the values in `changed`. If so, store its form and its layout.

        It can if each output of the layer depends only on the maps near its place, in the same way at all places and
        for maps of all sizes. All other steps run on full maps.
        """
        maps = [key for key in step.reads if key in changed]
        last = {key in self.last for key in maps}
        # the one sample has one row; a step that stretches or moves rows has another first dimension
        if len(last) != 1 or len(shapes[step.key]) != 4 or shapes[step.key][0] != 1:
            return False
        form = self._form(step, maps, shapes, last.pop())
        if form is None:
            return False
        self.forms[step.key] = form
        if form.last != form.turned:
            self.last.add(step.key)
        return True

    def _form(self, step: Step, maps: list[str], shapes: Mapping[str, Any], last: bool) -> Form | None:
        layer = step.layer
        if len(step.reads) > 1 or isinstance(layer, Concatenate):  # DenseNet also concatenates lists of one tensor
            others = [shapes[key] for key in step.reads if key not in maps]
            meet = _with_others(layer, others, last) and _aligned(step, maps, shapes, last)
            return Form(last) if meet else None
        if isinstance(layer, Permute):
            return Form(last, turned=True) if _dims(layer) == (_TO_FIRST if last else _TO_LAST) else None
        sliding = None if last else Sliding.of(layer)
        return Form(last, sliding=sliding) if sliding is not None or _alone(layer, last) else None


def _dims(layer: Permute) -> tuple[int, ...] | None:
    """The order of a permutation of four dimensions, as non-negative numbers; None for other arguments."""
    dims = layer.args[1:] if len(layer.args) > 2 else layer.args[1] if len(layer.args) == 2 else None
    dims = layer.kwargs.get("dims", dims)
    if not isinstance(dims, (tuple, list)) or len(dims) != 4 or not all(isinstance(dim, int) for dim in dims):
        return None
    return tuple(dim % 4 for dim in dims)


def _alone(layer: nn.Module, channels_last: bool) -> bool:
    row = operation_of(layer)
    if channels_last and _over_channels(layer):
        return True
    # a layer with numbers per channel has its channels along dimension 1
    if row.has(Trait.PER_CHANNEL) and channels_last:
        return False
    norms = (part for part in layer.modules() if isinstance(part, nn.BatchNorm2d))
    if any(norm.running_mean is None or norm.training for norm in norms):  # statistics of the whole map
        return False
    at_its_place = row.has(Trait.ELEMENTWISE | Trait.PER_CHANNEL | Trait.MEETS)
    return at_its_place and has_known_forward(layer) and _by_numbers(layer)


def _by_numbers(layer: nn.Module) -> bool:
    """Whether all other arguments of a function of one tensor are numbers; True for a module."""
    inner = innermost(layer)
    if not isinstance(inner, Function):
        return True
    return all(isinstance(arg, (Slot, int, float)) for arg in (*inner.args, *inner.kwargs.values()))


def _over_channels(layer: nn.Module) -> bool:
    """Whether a layer works on the last dimension alone."""
    if operation_of(layer).reach is Reach.ROW and has_known_forward(layer):
        return True
    shape: Any = None
    if isinstance(layer, nn.LayerNorm) and has_known_forward(layer):
        shape = layer.normalized_shape
    elif isinstance(layer, Apply) and layer.function is F.layer_norm:
        shape = layer.kwargs.get("normalized_shape", layer.args[1] if len(layer.args) > 1 else None)
    return isinstance(shape, (tuple, list)) and len(shape) == 1


def _with_others(layer: nn.Module, others: list[Any], channels_last: bool) -> bool:
    """Whether a layer combines values place by place. An unchanged value must be a map or the same at all places."""
    if channels_last and _over_channels(layer):  # the other values are its weights
        return all(len(shape) <= 1 for shape in others)
    if isinstance(layer, Concatenate):
        dim = layer.kwargs.get("dim", layer.args[1] if len(layer.args) > 1 else 0)
        return dim in ((3, -1) if channels_last else (1, -3)) and all(len(shape) == 4 for shape in others)
    if not operation_of(layer).has(Trait.MEETS) or not isinstance(layer, Function) or len(layer.args) != 2:
        return False
    return all(len(shape) == 4 or _same_everywhere(shape, channels_last) for shape in others)


def _aligned(step: Step, maps: list[str], shapes: Mapping[str, Any], channels_last: bool) -> bool:
    """Whether all changed maps have the height and width of the step's output, so that none is stretched."""
    along = slice(1, 3) if channels_last else slice(2, 4)
    return all(shapes[key][along] == shapes[step.key][along] for key in maps)


def _same_everywhere(shape: Any, channels_last: bool) -> bool:
    """Whether a constant of this shape has one value for all places."""
    places = tuple(shape)[-3:-1] if channels_last else tuple(shape)[-2:]
    return all(size == 1 for size in places)


def first(maps: Tensor) -> Tensor:
    """Maps with channels last as maps with channels first, a view."""
    return maps.permute(_TO_FIRST)


def last(maps: Tensor) -> Tensor:
    """Maps with channels first as maps with channels last, a view."""
    return maps.permute(_TO_LAST)

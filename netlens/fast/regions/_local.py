"""Local layers: each output depends only on inputs near its position, so that the layer can run on patches."""

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
        channels_last: Whether the maps that the step reads have their channels last, as in the blocks of ConvNeXt.
        moves_channels: Whether the step only moves the channels from first to last, or back.
        sliding: The sliding window of the step; None if it has no sliding window.
    """

    channels_last: bool = False
    moves_channels: bool = False
    sliding: Sliding | None = None


class Layouts:
    """How each local step runs on patches (its `Form`), and the keys of the maps that have their channels last.

    Only the changed maps that a layer reads determine its layout. Its other inputs do not.
    """

    def __init__(self) -> None:
        self.channels_last: set[str] = set()
        self.forms: dict[str, Form] = {}

    def local(self, step: Step, changed: Collection[str], shapes: Mapping[str, Any]) -> bool:
        """Whether a step can run on patches of the values at the keys `changed`. If so, store its form and its layout.

        It can if each output depends only on inputs near its position, by a function that is the same at all positions
        and for maps of all sizes. All other steps run on full maps.
        """
        maps = [key for key in step.reads if key in changed]
        channels_last = {key in self.channels_last for key in maps}
        # a sample has one row; if a step repeats or moves rows, the first dimension of its output has another size
        if len(channels_last) != 1 or len(shapes[step.key]) != 4 or shapes[step.key][0] != 1:
            return False
        form = self._form(step, maps, shapes, channels_last.pop())
        if form is None:
            return False
        self.forms[step.key] = form
        if form.channels_last != form.moves_channels:
            self.channels_last.add(step.key)
        return True

    def _form(self, step: Step, maps: list[str], shapes: Mapping[str, Any], channels_last: bool) -> Form | None:
        layer = step.layer
        if len(step.reads) > 1 or isinstance(layer, Concatenate):  # DenseNet also concatenates lists of one tensor
            unchanged_shapes = [shapes[key] for key in step.reads if key not in maps]
            fits = _combines_by_position(layer, unchanged_shapes, channels_last) and _aligned(
                step, maps, shapes, channels_last
            )
            return Form(channels_last) if fits else None
        if isinstance(layer, Permute):
            return (
                Form(channels_last, moves_channels=True)
                if _dims(layer) == (_TO_FIRST if channels_last else _TO_LAST)
                else None
            )
        sliding = None if channels_last else Sliding.of(layer)
        return (
            Form(channels_last, sliding=sliding) if sliding is not None or _is_pointwise(layer, channels_last) else None
        )


def _dims(layer: Permute) -> tuple[int, ...] | None:
    """The order of a permutation of four dimensions, as non-negative numbers; None for other arguments."""
    dims = layer.args[1:] if len(layer.args) > 2 else layer.args[1] if len(layer.args) == 2 else None
    dims = layer.kwargs.get("dims", dims)
    if not isinstance(dims, (tuple, list)) or len(dims) != 4 or not all(isinstance(dim, int) for dim in dims):
        return None
    return tuple(dim % 4 for dim in dims)


def _is_pointwise(layer: nn.Module, channels_last: bool) -> bool:
    row = operation_of(layer)
    if channels_last and _works_on_last_dimension(layer):
        return True
    # a layer with separate numbers per channel expects the channels in dimension 1
    if row.has(Trait.PER_CHANNEL) and channels_last:
        return False
    norms = (submodule for submodule in layer.modules() if isinstance(submodule, nn.BatchNorm2d))
    if any(norm.running_mean is None or norm.training for norm in norms):  # norms over the whole map
        return False
    works_by_position = row.has(Trait.ELEMENTWISE | Trait.PER_CHANNEL | Trait.MEETS)
    return works_by_position and has_known_forward(layer) and _has_numbers_only(layer)


def _has_numbers_only(layer: nn.Module) -> bool:
    """Whether all arguments of a function, except its inputs, are numbers. True for a module."""
    inner = innermost(layer)
    if not isinstance(inner, Function):
        return True
    return all(isinstance(arg, (Slot, int, float)) for arg in (*inner.args, *inner.kwargs.values()))


def _works_on_last_dimension(layer: nn.Module) -> bool:
    """Whether a layer works on the last dimension only, such as a linear layer."""
    if operation_of(layer).reach is Reach.ROW and has_known_forward(layer):
        return True
    shape: Any = None
    if isinstance(layer, nn.LayerNorm) and has_known_forward(layer):
        shape = layer.normalized_shape
    elif isinstance(layer, Apply) and layer.function is F.layer_norm:
        shape = layer.kwargs.get("normalized_shape", layer.args[1] if len(layer.args) > 1 else None)
    return isinstance(shape, (tuple, list)) and len(shape) == 1


def _combines_by_position(layer: nn.Module, unchanged_shapes: list[Any], channels_last: bool) -> bool:
    """Whether a layer combines its inputs position by position.

    An input that does not change must be a map, or be constant over all positions.
    """
    if channels_last and _works_on_last_dimension(layer):  # unchanged: weight and bias of the layer
        return all(len(shape) <= 1 for shape in unchanged_shapes)
    if isinstance(layer, Concatenate):
        dim = layer.kwargs.get("dim", layer.args[1] if len(layer.args) > 1 else 0)
        return dim in ((3, -1) if channels_last else (1, -3)) and all(len(shape) == 4 for shape in unchanged_shapes)
    if not operation_of(layer).has(Trait.MEETS) or not isinstance(layer, Function) or len(layer.args) != 2:
        return False
    return all(len(shape) == 4 or _is_constant_over_positions(shape, channels_last) for shape in unchanged_shapes)


def _aligned(step: Step, maps: list[str], shapes: Mapping[str, Any], channels_last: bool) -> bool:
    """Whether all changed maps have the height and width of the step's output, so that no map is broadcast."""
    dims = slice(1, 3) if channels_last else slice(2, 4)
    return all(shapes[key][dims] == shapes[step.key][dims] for key in maps)


def _is_constant_over_positions(shape: Any, channels_last: bool) -> bool:
    """Whether a tensor of this shape has one value for all positions."""
    sides = tuple(shape)[-3:-1] if channels_last else tuple(shape)[-2:]
    return all(size == 1 for size in sides)


def to_channels_first(maps: Tensor) -> Tensor:
    """A view with channels first of maps with channels last."""
    return maps.permute(_TO_FIRST)


def to_channels_last(maps: Tensor) -> Tensor:
    """A view with channels last of maps with channels first."""
    return maps.permute(_TO_LAST)

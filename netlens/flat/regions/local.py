"""Local layers: those whose output at a place depends on the input near it, and how each of them runs on patches."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from netlens.flat.layers import (
    Add,
    Apply,
    Concatenate,
    Divide,
    Multiply,
    Normalize,
    Permute,
    Slot,
    Subtract,
    is_kind,
)
from netlens.flat.program import Step
from netlens.flat.regions.sliding import Sliding
from netlens.flat.rules import RECTIFIERS

_POINTWISE = (*RECTIFIERS, nn.Sigmoid, nn.Tanh, nn.Hardsigmoid, nn.Identity, nn.Dropout, nn.Dropout2d, StochasticDepth)
_PER_CHANNEL = (nn.BatchNorm2d, Normalize)  # these look for channels in dimension 1
_TOGETHER = (Add, Subtract, Multiply, Divide)
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


class Layouts:
    """Which maps have their channels last, as ConvNeXt's do inside a block: all maps of patches have them first."""

    def __init__(self) -> None:
        self.last: set[str] = set()

    def local(self, step: Step, changed: Collection[str], shapes: Mapping[str, Any]) -> bool:
        """Whether a step can run on patches of the values in `changed`; notes the layout of what it gives."""
        maps = [key for key in step.reads if key in changed]
        last = {key in self.last for key in maps}
        if len(last) != 1 or len(shapes[step.key]) != 4:
            return False
        layer, channels_last = step.layer, last.pop()
        if len(step.reads) == 1 and not isinstance(layer, Concatenate):  # which DenseNet calls with a list of one, too
            if isinstance(layer, Permute):
                return self._permuted(step, layer, channels_last)
            local = _alone(layer, channels_last)
        else:
            others = [shapes[key] for key in step.reads if key not in changed]
            local = _with_others(layer, others, channels_last) and _aligned(step, maps, shapes, channels_last)
        if local and channels_last:
            self.last.add(step.key)
        return local

    def _permuted(self, step: Step, layer: Permute, channels_last: bool) -> bool:
        dims = layer.args[1:] if len(layer.args) > 2 else layer.args[1] if len(layer.args) == 2 else None
        dims = layer.kwargs.get("dims", dims)
        if not isinstance(dims, (tuple, list)) or tuple(dims) != (_TO_FIRST if channels_last else _TO_LAST):
            return False
        if not channels_last:
            self.last.add(step.key)
        return True


def _alone(layer: nn.Module, channels_last: bool) -> bool:
    if channels_last:
        return (is_kind(layer, _POINTWISE) and not is_kind(layer, nn.PReLU)) or _over_channels(layer)
    norms = (part for part in layer.modules() if isinstance(part, nn.BatchNorm2d))
    if any(norm.running_mean is None for norm in norms):  # it normalises by the whole map that it is given
        return False
    return is_kind(layer, (*_POINTWISE, *_PER_CHANNEL)) or _by_constant(layer) or Sliding.of(layer) is not None


def _over_channels(layer: nn.Module) -> bool:
    """Whether a layer works on the last dimension alone."""
    if isinstance(layer, nn.Linear):
        return True
    shape: Any = None
    if isinstance(layer, nn.LayerNorm):
        shape = layer.normalized_shape
    elif isinstance(layer, Apply) and layer.function is F.layer_norm:
        shape = layer.kwargs.get("normalized_shape", layer.args[1] if len(layer.args) > 1 else None)
    return isinstance(shape, (tuple, list)) and len(shape) == 1


def _by_constant(layer: nn.Module) -> bool:
    """Whether a layer adds or multiplies by a number."""
    if not isinstance(layer, _TOGETHER):
        return False
    return all(isinstance(arg, (Slot, int, float)) for arg in (*layer.args, *layer.kwargs.values()))


def _with_others(layer: nn.Module, others: list[Any], channels_last: bool) -> bool:
    """Whether values meet place by place; one that does not change must lie on the map, or be stretched to it."""
    if channels_last and _over_channels(layer):  # with its weights as values of their own
        return all(len(shape) == 1 for shape in others)
    if isinstance(layer, Concatenate):
        dim = layer.kwargs.get("dim", layer.args[1] if len(layer.args) > 1 else 0)
        return dim == 1 and not channels_last and all(len(shape) == 4 for shape in others)
    if not isinstance(layer, _TOGETHER) or len(layer.args) != 2:
        return False
    return all(len(shape) == 4 or _same_everywhere(shape, channels_last) for shape in others)


def _aligned(step: Step, maps: list[str], shapes: Mapping[str, Any], channels_last: bool) -> bool:
    """Whether the maps that change lie place by place on what the step gives, none of them stretched to its size."""
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

"""Local layers: those whose output at a place depends on the input near it, and how each of them runs on patches."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
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
    Wrapper,
    is_kind,
)
from netlens.flat.program import Step
from netlens.flat.regions.sliding import Sliding
from netlens.flat.rules import RECTIFIERS

_POINTWISE = (*RECTIFIERS, nn.Sigmoid, nn.Tanh, nn.Hardsigmoid, nn.Identity, nn.Dropout, nn.Dropout2d, StochasticDepth)
_PER_CHANNEL = (nn.BatchNorm2d, Normalize)  # these look for channels in dimension 1
_TOGETHER = (Add, Subtract, Multiply, Divide)
_KNOWN = ("torch", "torchvision", "netlens")
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass(frozen=True)
class Form:
    """How a step runs on patches, which have their channels first whatever the layout of the maps.

    last: whether the maps that it reads have their channels last, as ConvNeXt's do inside a block. turned: whether it
    does nothing but move the channels to the other side. sliding: the window that it slides over maps, if it does.
    """

    last: bool = False
    turned: bool = False
    sliding: Sliding | None = None


class Layouts:
    """How the steps run that can run on patches, and which maps have their channels last.

    Where channels and places lie follows from the maps that change, from the window on; never from other values that a
    layer reads.
    """

    def __init__(self) -> None:
        self.last: set[str] = set()
        self.forms: dict[str, Form] = {}

    def local(self, step: Step, changed: Collection[str], shapes: Mapping[str, Any]) -> bool:
        """Whether a step can run on patches of the values in `changed`; notes how, and the layout of what it gives.

        It can where the layer is known to give at each place of a variant what follows from the maps near that place,
        whatever the place and however large the map. All else is for full maps.
        """
        maps = [key for key in step.reads if key in changed]
        last = {key in self.last for key in maps}
        # one row for the one sample: what is stretched along its rows, or moves them, has another first dimension
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
        if len(step.reads) > 1 or isinstance(layer, Concatenate):  # which DenseNet calls with a list of one, too
            others = [shapes[key] for key in step.reads if key not in maps]
            meet = _with_others(layer, others, last) and _aligned(step, maps, shapes, last)
            return Form(last) if meet else None
        if isinstance(layer, Permute):
            return Form(last, turned=True) if _dims(layer) == (_TO_FIRST if last else _TO_LAST) else None
        sliding = None if last else Sliding.of(layer)
        return Form(last, sliding=sliding) if sliding is not None or _alone(layer, last) else None


def _dims(layer: Permute) -> tuple[int, ...] | None:
    """The order of a permutation of four dimensions, each counted from the first; None for one of other arguments."""
    dims = layer.args[1:] if len(layer.args) > 2 else layer.args[1] if len(layer.args) == 2 else None
    dims = layer.kwargs.get("dims", dims)
    if not isinstance(dims, (tuple, list)) or len(dims) != 4 or not all(isinstance(dim, int) for dim in dims):
        return None
    return tuple(dim % 4 for dim in dims)


def _alone(layer: nn.Module, channels_last: bool) -> bool:
    if _by_constant(layer):
        return True
    if channels_last:
        return (_computes(layer, _POINTWISE) and not is_kind(layer, nn.PReLU)) or _over_channels(layer)
    norms = (part for part in layer.modules() if isinstance(part, nn.BatchNorm2d))
    if any(norm.running_mean is None or norm.training for norm in norms):  # it normalizes by the whole map it is given
        return False
    return _computes(layer, (*_POINTWISE, *_PER_CHANNEL))


def _computes(layer: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a layer, whatever wraps it, is of one of these types and has no forward of a user's own."""
    while isinstance(layer, Wrapper):
        layer = layer.inner
    maker = next((cls for cls in type(layer).__mro__ if "forward" in vars(cls)), None)
    return isinstance(layer, kinds) and maker is not None and maker.__module__.split(".")[0] in _KNOWN


def _over_channels(layer: nn.Module) -> bool:
    """Whether a layer works on the last dimension alone."""
    if _computes(layer, (nn.Linear,)):
        return True
    shape: Any = None
    if isinstance(layer, nn.LayerNorm) and _computes(layer, (nn.LayerNorm,)):
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
        return all(len(shape) <= 1 for shape in others)
    if isinstance(layer, Concatenate):
        dim = layer.kwargs.get("dim", layer.args[1] if len(layer.args) > 1 else 0)
        return dim in ((3, -1) if channels_last else (1, -3)) and all(len(shape) == 4 for shape in others)
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

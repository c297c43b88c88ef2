"""Receptive fields: the part of the input on which one value of a layer depends."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netlens.flat.layers import Constant, Function, OfUnitSize, Reshape, Select, Standardized
from netlens.flat.operations import Reach, Trait, innermost, operation_of
from netlens.flat.running import Program, Step


@dataclass(frozen=True)
class Field:
    """The receptive field of one layer.

    Args:
        size: The height and width, in pixels, of the part of the input on which one value depends; None for the whole
            input.
        stride: The distance, in pixels, between the fields of neighboring values: vertical and horizontal.
        before, after: How far the field reaches, in pixels, before and after the pixel at (row, column) times stride.

    Example:
        >>> print(Field((7, 7), (2, 2)))
        7 /2
    """

    size: tuple[int, int] | None
    stride: tuple[int, int] = (1, 1)
    before: tuple[int, int] = dataclasses.field(default=(0, 0), compare=False)
    after: tuple[int, int] = dataclasses.field(default=(0, 0), compare=False)

    def __str__(self) -> str:
        return "all" if self.size is None else f"{_sides(self.size)} /{_sides(self.stride)}"


NOTHING = Field((0, 0))
WHOLE = Field(None)
SMALLEST_CROP = 16  # pixels; a person cannot recognize anything in a smaller crop


def crop_of(
    field: Field | None, place: tuple[int, int], places: tuple[int, int], size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The part of an input on which one position of a map depends, for people to look at.

    It has the size of the receptive field, is moved so that it lies within the input, and has sides of at least 16
    pixels. It is the whole input if the field is unknown.

    Args:
        field: The receptive field of the layer.
        place: The row and the column of the position.
        places: The height and width of the map.
        size: The height and width of the input, in pixels.

    Returns:
        Its edges in pixels: (top, bottom, left, right).

    Example:
        >>> crop_of(Field((20, 20), (4, 4)), (0, 15), (16, 16), (64, 64))
        (0, 23, 41, 64)
    """
    if field is None or field.size is None:
        return (0, size[0], 0, size[1])
    bounds: list[int] = []
    for index, count, length, reach, stride in zip(place, places, size, field.size, field.stride, strict=True):
        # the padding on both sides differs by less than a stride, so the middles of the map and of the input coincide
        side = min(length, max(SMALLEST_CROP, reach + stride - 1))
        middle = length / 2 + (index - (count - 1) / 2) * stride
        start = min(max(0, round(middle - side / 2)), length - side)
        bounds += [start, start + side]
    return (bounds[0], bounds[1], bounds[2], bounds[3])


def receptive_fields(program: Program) -> dict[str, Field | None]:
    """Compute the receptive field of each input and layer.

    A layer that flattens maps or pools them to a vector sees the whole input, and so do all later layers. For all other
    layers, the field follows from the fields of their inputs.

    Araujo et al. 2019, https://distill.pub/2019/computing-receptive-fields

    Returns:
        The fields by key; None for a layer without a general rule, such as attention within windows.
    """
    fields: dict[str, Field | None] = dict.fromkeys(program.inputs, Field((1, 1)))
    for step in program.steps:
        if not step.hidden:
            fields[step.key] = _field(step, [fields[key] for key in step.reads if key in fields])
    return fields


def _field(step: Step, input_fields: list[Field | None]) -> Field | None:
    layer, reach = innermost(step.layer), operation_of(step.layer).reach
    if isinstance(layer, Constant) or (input_fields and all(field == NOTHING for field in input_fields)):
        return NOTHING
    if any(field is not None and field.size is None for field in input_fields):
        return WHOLE
    if reach is Reach.WHOLE and operation_of(step.layer).has(Trait.POOLS):  # whatever each position of the map sees
        return WHOLE
    fields = [field for field in input_fields if field is not None]
    if len(fields) < len(input_fields) or not fields:
        return None
    joint = _joint(fields)
    if joint.size is None or reach is Reach.WHOLE or _flattens(layer):
        return WHOLE
    if reach is Reach.WINDOW:
        return _through_window(joint, joint.size, layer)
    if reach is Reach.ROW:
        return joint if joint.size != (1, 1) else WHOLE  # the layer reads the input itself, which is a vector
    if isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) > 1:
        return WHOLE
    if isinstance(layer, (Standardized, OfUnitSize)) and len(layer.dims) > 1:
        return WHOLE
    if isinstance(layer, Select) and _moves(layer):
        return None
    if reach is not Reach.POINT:
        return None
    return _shifted(joint, *_border(layer)) if operation_of(layer).has(Trait.PADS) else joint


def _border(layer: nn.Module) -> tuple[int, int]:
    """The rows and columns that a padding adds before its input; 0 where a run decides them."""
    sides = layer.args[1] if isinstance(layer, Function) and len(layer.args) > 1 else getattr(layer, "padding", ())
    if not isinstance(sides, (tuple, list)) or len(sides) < 4 or not all(isinstance(side, int) for side in sides):
        return 0, 0
    return sides[2], sides[0]  # the sides of the last dimension come first


def _shifted(field: Field, rows: int, columns: int) -> Field:
    """The field of a map with so many rows and columns more before its first ones."""
    (down, across), (top, left), (bottom, right) = field.stride, field.before, field.after
    before = top + rows * down, left + columns * across
    return dataclasses.replace(field, before=before, after=(bottom - rows * down, right - columns * across))


def _flattens(layer: nn.Module) -> bool:
    """Whether a reshape gives one vector per sample, as in `x.view(n, -1)`."""
    if not isinstance(layer, Reshape) or layer.function not in (Tensor.view, Tensor.reshape, torch.reshape):
        return False
    shape = layer.args[1:] if len(layer.args) > 2 else layer.args[1]
    return isinstance(shape, (tuple, list)) and len(shape) == 2


def _moves(layer: Select) -> bool:
    """Whether a selection shifts or drops positions, as `x[:, :, ::2]` does. A choice of channels does not."""
    index = layer.args[1] if len(layer.args) > 1 else None
    return isinstance(index, tuple) and any(entry not in (slice(None), Ellipsis) for entry in index[2:])


def _joint(fields: list[Field]) -> Field:
    """The field of a value that depends on one value of each of several layers, at the same position."""
    if any(field.size is None for field in fields):
        return WHOLE
    sizes = [field.size for field in fields if field.size is not None]
    strides = [field.stride for field in fields if field.size != (0, 0)] or [(1, 1)]
    return Field(
        _largest(sizes),
        _largest(strides),
        _largest([field.before for field in fields]),
        _largest([field.after for field in fields]),
    )


def _largest(pairs: list[tuple[int, int]]) -> tuple[int, int]:
    return max(h for h, _ in pairs), max(w for _, w in pairs)


def _through_window(field: Field, size: tuple[int, int], layer: nn.Module) -> Field:
    kernel, stride = _pair(layer.kernel_size), _pair(layer.stride)
    dilation = _pair(getattr(layer, "dilation", 1))
    grown = [s + (k - 1) * d * j for s, k, d, j in zip(size, kernel, dilation, field.stride, strict=True)]
    steps = [j * s for j, s in zip(field.stride, stride, strict=True)]
    reaches = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    pads = _pads(layer, reaches)
    before = [b + p * j for b, p, j in zip(field.before, pads, field.stride, strict=True)]
    after = [a + (r - p) * j for a, r, p, j in zip(field.after, reaches, pads, field.stride, strict=True)]
    return Field((grown[0], grown[1]), (steps[0], steps[1]), (before[0], before[1]), (after[0], after[1]))


def _pads(layer: nn.Module, reaches: list[int]) -> list[int]:
    """The rows and columns that a window layer adds before its input."""
    padding = getattr(layer, "padding", 0)
    if isinstance(padding, str):
        return [reach // 2 for reach in reaches] if padding == "same" else [0, 0]
    return list(_pair(padding))


def _pair(value: object) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)  # type: ignore[arg-type, return-value]


def _sides(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"

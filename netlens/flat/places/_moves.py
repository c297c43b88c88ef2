"""Where operations take the places of what they read: one function for each kind of operation."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.flat.layers import Function, Piece, Select
from netlens.flat.operations import Relevance, Trait, innermost, is_foreign, name_of, operation_of
from netlens.flat.places._places import (
    Coordinates,
    Places,
    Raster,
    Unplaced,
    coordinates_of,
    distinct,
    mean_over,
    placed,
)
from netlens.flat.places._stand_ins import on_numbers

NOWHERE, UNKNOWN = Unplaced.NOWHERE, Unplaced.UNKNOWN
Axes = tuple[Tensor, ...]

_SAME = Trait.ELEMENTWISE | Trait.NORM | Trait.SOFTMAX | Trait.KEEPS
_NO_PLACE = Trait.CONSTANT | Trait.DISCRETE | Trait.NUMBER
_FROM_FIRST = Trait.CHANNELS_LAST | Trait.BY_PLACE | Trait.ELEMENTWISE | Trait.NORM | Trait.SOFTMAX


def places_after(layer: nn.Module, inputs: Sequence[Any], places: Sequence[Any], output: Any) -> Any:
    """The places of what a layer gives: of a tensor, or a list of those of several tensors.

    Args:
        layer: The layer.
        inputs: Stand-ins of what it reads.
        places: The places of these; `NOWHERE` for what is no tensor.
        output: The stand-in of what it gives.
    """
    if not isinstance(output, Tensor):
        return _of_several(layer, inputs, places, output)
    row, name, inner = operation_of(layer), name_of(layer), innermost(layer)
    tensors = [(value, at) for value, at in zip(inputs, places, strict=True) if isinstance(value, Tensor)]
    if row.has(_NO_PLACE) or output.ndim == 0:
        return NOWHERE
    if any(isinstance(value, (tuple, list)) and any(isinstance(each, Tensor) for each in value) for value in inputs):
        return _moved(layer, inputs, places, output)  # one of several values
    if not tensors:
        return NOWHERE
    first, at = tensors[0]
    if name == "grid_sample" and output.shape[2:] != first.shape[2:]:
        return NOWHERE  # points that values choose, such as those of deformable attention; a warp keeps the sizes
    if row.has(Trait.BY_PLACE) and first.ndim > 2:
        return _resampled(at, first, output, first.ndim - 2)
    if all(each is NOWHERE for _, each in tensors):
        return NOWHERE
    if row.has(_SAME) and output.shape == first.shape:
        return at
    if row.has(Trait.MEETS) or name in ("where", "masked_fill", "maximum", "minimum", "lerp"):
        return _met(tensors, output)
    if row.has(Trait.CHANNELS_LAST):
        return _averaged(at, first, [first.ndim - 1], output)
    if row.has(Trait.MATRIX_PRODUCT):
        return _multiplied(tensors[0], tensors[1], output)
    if row.relevance is Relevance.ATTENDS:
        return NOWHERE  # each output comes from all positions
    if name == "einsum":
        return _contracted(inner, tensors, output)
    if row.has(Trait.REDUCES) or (
        row.has(Trait.POSITIVE) and output.ndim <= first.ndim and isinstance(inner, Function)
    ):
        return _reduced(inner, at, first, output)
    if any(each is UNKNOWN for _, each in tensors):
        return UNKNOWN
    if isinstance(at, Raster) and row.has(Trait.PADS):
        # a border of a map shifts its positions by less than one of them
        return Raster(tuple(output.shape[2:])) if output.shape[:2] == first.shape[:2] else UNKNOWN
    if row.has(Trait.MOVES | Trait.FILLS):
        return _moved(layer, inputs, places, output)
    if (isinstance(inner, Piece) or is_foreign(layer)) and _rearranges(layer, inputs, output):
        return _moved(layer, inputs, places, output)
    return at if output.shape == first.shape else UNKNOWN


def reads_first_alone(layer: nn.Module) -> bool:
    """Whether the places of what a layer gives follow from its first input alone."""
    row = operation_of(layer)
    return row.has(_FROM_FIRST) or row.relevance is Relevance.ATTENDS


def _of_several(layer: nn.Module, inputs: Sequence[Any], places: Sequence[Any], output: Any) -> Any:
    """The places of a tuple or list of tensors."""
    if not isinstance(output, (tuple, list)):
        return NOWHERE
    if not all(isinstance(each, Tensor) for each in output):
        return [UNKNOWN if isinstance(each, Tensor) else NOWHERE for each in output]
    row = operation_of(layer)
    at_inputs = [at for value, at in zip(inputs, places, strict=True) if isinstance(value, Tensor)]
    if at_inputs and all(at is NOWHERE for at in at_inputs):
        return [NOWHERE for _ in output]
    if row.has(Trait.MOVES) and UNKNOWN not in at_inputs:
        return _moved(layer, inputs, places, output)
    if row.has(Trait.INDICES):
        return [NOWHERE for _ in output]  # each position comes from where the values say
    if row.has(Trait.INDICES_ALONG) and len(output) == 2:
        values = output[0]
        if isinstance(inputs[0], Tensor):
            return [_reduced(innermost(layer), places[0], inputs[0], values), NOWHERE]
    return [UNKNOWN for _ in output]


def _resampled(at: Places, first: Tensor, output: Tensor, rank: int) -> Places:
    """The places after a convolution, a pool or a resizing: those of the centers of what each output sees."""
    sizes = tuple(output.shape[2:])
    if at is UNKNOWN or isinstance(at, Raster):
        whole = prod(sizes) < 2 or output.ndim != first.ndim
        return NOWHERE if whole else Raster(sizes)
    if isinstance(at, Coordinates):
        if output.ndim != first.ndim:  # a fold makes a map of rows
            return UNKNOWN
        axes = mean_over(at.axes, [1])
        if sizes == tuple(first.shape[2:]):
            return placed([axis.expand(output.shape[0], 1, *axis.shape[2:]) for axis in axes], output.shape)
        if output.shape[0] != first.shape[0]:
            return UNKNOWN
        pool: Any = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[rank - 1]
        wide = [axis.expand(len(first), 1, *first.shape[2:]) for axis in axes]
        pooled = [pool(axis, sizes) / pool((axis > 0).to(axis.dtype), sizes).clamp(min=1e-6) for axis in wide]
        return placed(pooled, output.shape)
    return NOWHERE


def _met(tensors: Sequence[tuple[Tensor, Any]], output: Tensor) -> Places:
    """The places after arithmetic on several tensors: those of the tensor that tells places apart most finely."""
    located = [(value, at) for value, at in tensors if isinstance(at, (Raster, Coordinates))]
    if not located:
        return UNKNOWN
    spread: list[Places] = []
    for value, at in located:
        if value.shape == output.shape or (isinstance(at, Raster) and tuple(output.shape[2:]) == at.sizes):
            spread.append(at)
        elif isinstance(at, Raster) and output.ndim == value.ndim:  # rows and columns that meet
            spread.append(Raster(tuple(output.shape[2:])))
        else:
            wide = [
                axis.view([1] * (output.ndim - value.ndim) + list(axis.shape))
                for axis in coordinates_of(at, value.shape).axes
            ]
            spread.append(placed(wide, output.shape))
    first = spread[0]
    if len(spread) == 1 or (isinstance(first, Raster) and all(each == first for each in spread[1:])):
        return first
    counts = [distinct(coordinates_of(at, output.shape).axes) if not isinstance(at, Unplaced) else 0 for at in spread]
    return spread[counts.index(max(counts))]


def _averaged(at: Places, first: Tensor, dims: Sequence[int], output: Tensor) -> Places:
    """The places after a layer that mixes these dimensions and keeps their number."""
    if isinstance(at, Unplaced):
        return at
    axes = mean_over(coordinates_of(at, first.shape).whole(), dims)
    if any(axis.ndim != output.ndim for axis in axes):
        return UNKNOWN
    return placed(axes, output.shape)


def _multiplied(left: tuple[Tensor, Any], right: tuple[Tensor, Any], output: Tensor) -> Places:
    """The places after a matrix product: the left factor asks, so its rows have the places, else those of the right.

    If the sum runs over positions, as that of attention over its values does, the result comes from all of them.
    """
    if UNKNOWN in (left[1], right[1]):
        return UNKNOWN
    for (value, at), dim in ((left, -1), (right, -2)):
        if isinstance(at, Unplaced) or value.ndim < 2:
            continue
        axes = coordinates_of(at, value.shape).axes
        if dim == -2 and any(axis.shape[dim] > 1 for axis in axes):
            return NOWHERE
    for (value, at), dim in ((left, -1), (right, -2)):
        if isinstance(at, Unplaced) or value.ndim < 2:
            continue
        axes = mean_over(coordinates_of(at, value.shape).whole(), [value.ndim + dim])
        if min(left[0].ndim, right[0].ndim) == 1:  # the product with a vector has no dimension in its place
            axes = tuple(axis.squeeze(dim) for axis in axes)
        result = placed([axis.view([1] * (output.ndim - axis.ndim) + list(axis.shape)) for axis in axes], output.shape)
        if result is not NOWHERE:
            return result
    return NOWHERE


def _contracted(layer: nn.Module, tensors: Sequence[tuple[Tensor, Any]], output: Tensor) -> Places:
    """The places after an einsum: those of the first factor of which the result keeps several."""
    equation = layer.args[0] if isinstance(layer, Function) else None
    if not isinstance(equation, str) or "." in equation or "->" not in equation:
        return UNKNOWN
    terms, _, result = equation.replace(" ", "").partition("->")
    places: Places = NOWHERE
    for term, (value, at) in zip(terms.split(","), tensors, strict=True):
        if isinstance(at, Unplaced):
            continue
        whole = coordinates_of(at, value.shape)
        gone = [dim for dim, letter in enumerate(term) if letter not in result]
        if any(axis.shape[dim] > 1 for axis in whole.axes for dim in gone):
            return NOWHERE  # the sum runs over positions
        axes = []
        for axis in mean_over(whole.whole(), gone):
            letters = [letter for letter in term if letter in result]
            axis = axis.squeeze(gone) if gone else axis
            axis = axis.permute([letters.index(letter) for letter in result if letter in letters])
            axes.append(axis[tuple(slice(None) if letter in letters else None for letter in result)])
        places = placed(axes, output.shape) if places is NOWHERE else places
    return places


def _reduced(layer: nn.Module, at: Places, first: Tensor, output: Tensor) -> Places:
    """The places after a mean, a sum or a choice along dimensions: the mean of those that are joined."""
    if isinstance(at, Unplaced):
        return at
    if output.shape == first.shape:
        return at
    dims = layer.kwargs.get("dim", layer.kwargs.get("axis")) if isinstance(layer, Function) else None
    if dims is None and isinstance(layer, Function) and len(layer.args) > 1:
        dims = layer.args[2] if name_of(layer) == "norm" and len(layer.args) > 2 else layer.args[1]
    dims = [dims] if isinstance(dims, int) else dims
    if not isinstance(dims, (tuple, list)) or not all(isinstance(dim, int) for dim in dims):
        return NOWHERE
    dims = [dim % first.ndim for dim in dims]
    axes = mean_over(coordinates_of(at, first.shape).whole(), dims)
    if output.ndim < first.ndim:
        axes = tuple(axis.squeeze(tuple(dims)) for axis in axes)
    if any(axis.ndim != output.ndim for axis in axes):
        return UNKNOWN
    return placed(axes, output.shape)


def _moved(layer: nn.Module, inputs: Sequence[Any], places: Sequence[Any], output: Any) -> Any:
    """The places after a layer that moves elements: the layer itself moves their coordinates."""
    if (
        isinstance(output, Tensor)
        and len(places) == 1
        and isinstance(places[0], Raster)
        and _keeps_raster(layer, inputs, output)
    ):
        return Raster(tuple(output.shape[2:]))
    if isinstance(output, Tensor) and operation_of(layer).has(Trait.JOINS):
        joined = _joined(places, output)
        if joined is not None:
            return joined
    rank = next((_rank(at) for at in _leaves(places) if isinstance(at, (Raster, Coordinates))), 0)
    if rank == 0:
        return NOWHERE if isinstance(output, Tensor) else [NOWHERE for _ in output]
    if any(at is UNKNOWN for at in _leaves(places)):
        return UNKNOWN if isinstance(output, Tensor) else [UNKNOWN for _ in output]
    results = []
    with torch.no_grad():
        for axis in range(rank):
            values = [_coordinate(value, at, axis) for value, at in zip(inputs, places, strict=True)]
            results.append(layer(*(_dense(value) for value in values) if is_foreign(layer) else values))
    if isinstance(output, Tensor):
        return placed(results, output.shape)
    return [placed([each[i] for each in results], value.shape) for i, value in enumerate(output)]


def _dense(value: Any) -> Any:
    """The coordinates in memory of their own: a function of the user's may view them, as views of one number forbid."""
    return value.contiguous() if isinstance(value, Tensor) else value


def _joined(places: Sequence[Any], output: Tensor) -> Raster | None:
    """The raster of several maps that are joined along their channels."""
    rasters = [at for at in _leaves(places) if at is not NOWHERE]
    sizes = tuple(output.shape[2:])
    whole = bool(rasters) and all(isinstance(at, Raster) and at.sizes == sizes for at in rasters)
    return Raster(sizes) if whole else None


def _keeps_raster(layer: nn.Module, inputs: Sequence[Any], output: Tensor) -> bool:
    """Whether a layer moves channels, or pads or crops nothing, so that maps stay maps."""
    if output.shape[2:] != inputs[0].shape[2:] or output.ndim != inputs[0].ndim:
        return False
    inner = innermost(layer)
    if isinstance(inner, nn.ChannelShuffle) or name_of(layer) == "channel_shuffle":
        return True
    if isinstance(inner, Select):
        index = inner.args[1] if len(inner.args) > 1 else None
        return isinstance(index, tuple) and all(each == slice(None) for each in index[2:])
    return False


def _coordinate(value: Any, at: Any, axis: int) -> Any:
    """The coordinates of a value along one axis; 0 where it has none."""
    if isinstance(value, (tuple, list)):
        parts = at if isinstance(at, list) else [at] * len(value)
        return type(value)(_coordinate(each, part, axis) for each, part in zip(value, parts, strict=True))
    if not isinstance(value, Tensor):
        return value
    if isinstance(at, (Raster, Coordinates)):
        # a function of the user may take a view that exists only in contiguous memory
        return coordinates_of(at, value.shape).axes[axis].expand(value.shape).contiguous()
    dtype = torch.float32 if value.is_floating_point() else value.dtype
    return torch.zeros((), dtype=dtype, device="cpu").expand(value.shape)


def _rearranges(layer: nn.Module, inputs: Sequence[Any], output: Tensor) -> bool:
    """Whether a layer that nobody knows only moves values: a run on noise shows that it gives no values of its own."""
    if any(True for _ in layer.parameters()):
        return False
    read = [torch.zeros(1, device="cpu")]

    def noise(shape: Sequence[int], **options: Any) -> Tensor:
        values = torch.rand(tuple(shape), generator=torch.Generator().manual_seed(len(read)), dtype=torch.float32)
        read.append(values.flatten())
        return values.to(**options)

    try:
        result = on_numbers(layer, inputs, noise)
    except Exception:  # the layer may refuse noise in any way, and then it is no mere move
        return False
    is_same = isinstance(result, Tensor) and result.shape == output.shape
    return is_same and bool(torch.isin(result.float().cpu(), torch.cat(read)).all()) and bool(result.any())


def _leaves(places: Sequence[Any]) -> list[Any]:
    leaves: list[Any] = []
    for at in places:
        leaves.extend(at if isinstance(at, list) else [at])
    return leaves


def _rank(at: Raster | Coordinates) -> int:
    return len(at.sizes) if isinstance(at, Raster) else len(at.axes)

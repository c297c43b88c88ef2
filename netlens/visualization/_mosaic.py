"""A picture in tiles, exactly: which part of the picture a tile reads, and which positions of a layer it stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.intake import weight_of
from netlens.flat.receptive import Field, receptive_fields
from netlens.objectives import Objective, Record
from netlens.objectives.parts import Part, Place
from netlens.visualization._judge import channels_of
from netlens.visualization._tiles import Span, common_stride, span_of, spans

Run = Callable[[Tensor], Mapping[str, Any]]
"""A function from a part of the network's input to the activations of the layers on it, by key."""


@dataclass(frozen=True)
class Tile:
    """A tile: the rows and columns of the picture that the network reads, and its places in the layers, by name."""

    rows: Span
    columns: Span
    places: Mapping[str, Place]

    def of(self, picture: Tensor) -> Tensor:
        """The part of the picture (..., H, W) that the network reads."""
        return picture[..., self.rows[0] : self.rows[1], self.columns[0] : self.columns[1]]


@dataclass(frozen=True)
class Mosaic:
    """The tiles of a picture. Each position of a layer belongs to one tile.

    The margin of a tile is as wide as the receptive fields of the layers reach. So what a layer sees at the positions
    of a tile is the same as in the whole picture, and so is the gradient, as the sum of the gradients of the tiles.
    """

    flat: FlatModel
    names: tuple[str, ...]
    tiles: tuple[Tile, ...]

    @classmethod
    def of(cls, flat: FlatModel, names: Sequence[str], extent: tuple[int, int], side: int, run: Run) -> Mosaic:
        """The tiles of a picture with this height and width, for these layers.

        Args:
            flat: The network.
            names: The layers that are read, by any name.
            extent: The height and width of the picture.
            side: The side of a tile in pixels.
            run: How the network runs on a part of its input.

        Raises:
            NotApplicable: A layer sees the whole picture, or nobody knows which part of the picture it sees.
        """
        fields = {name: _field(flat, name) for name in names}
        stride = common_stride(fields.values())
        # at least 1, because the variation of a picture reads the next pixel
        reach = max(1, *(max(*field.before, *field.after) for field in fields.values()))
        margin = -(-reach // stride) * stride
        least = 2 * margin + stride
        if side < least and max(extent) > side:
            raise NetLensError(
                f"a tile of {side} pixels is too small: the layers of {flat.name} see {margin} pixels on each side. "
                f"Give a tile of {least} pixels or more, {4 * margin} for speed, or tile=None."
            )
        rows, columns = (spans(length, side, margin, stride) for length in extent)
        sides = rows[-1][1] - rows[-1][0], columns[-1][1] - columns[-1][0]
        corner = weight_of(flat, torch.empty(0)).new_zeros(1, channels_of(flat), *sides)
        with torch.no_grad():
            last = Record(flat, run(corner))
        shapes = {}
        for name, field in fields.items():
            height, width = _height_and_width(last, name)
            shapes[name] = rows[-1][0] // field.stride[0] + height, columns[-1][0] // field.stride[1] + width
        tiles = [
            Tile(
                row, column, {name: _place(row, column, field, shapes[name], extent) for name, field in fields.items()}
            )
            for row in rows
            for column in columns
        ]
        return cls(flat, tuple(names), tuple(tiles))

    def records(self, x: Tensor, run: Run) -> Iterator[tuple[Tile, Record]]:
        """Each tile with the activations on its part of the network's input x (N, C, H, W)."""
        for tile in self.tiles:
            yield tile, Record(self.flat, run(tile.of(x)))

    def totals(
        self, x: Tensor, run: Run, parts: Callable[[Record, Mapping[str, Place]], Sequence[Part]]
    ) -> list[Tensor]:
        """The totals of the parts of all tiles."""
        totals: list[Tensor | None] = []
        with torch.no_grad():
            for tile, record in self.records(x, run):
                tile_parts = parts(record, tile.places)
                totals = totals or [None] * len(tile_parts)
                totals = [part.added(total) for part, total in zip(tile_parts, totals, strict=True)]
        return [total for total in totals if total is not None]

    def values(self, objectives: Sequence[Objective], x: Tensor, run: Run) -> list[Tensor]:
        """(N,) each: the objectives of the pictures whose input is x."""
        totals = self.totals(x, run, lambda record, at: [p for o in objectives for p in o.parts(record, at)])
        values = []
        for objective in objectives:
            values.append(objective.joined(totals[: objective.n_parts]))
            del totals[: objective.n_parts]
        return values


def tile_around(flat: FlatModel, name: str, place: Place, extent: tuple[int, int]) -> Tile:
    """The smallest tile of a picture of this height and width that stands for these positions of a layer."""
    field = _field(flat, name)
    row, column = (
        _span_around(*sides)
        for sides in zip(
            place.corner, place.extent, place.shape, extent, field.stride, field.before, field.after, strict=True
        )
    )
    return Tile(row, column, {name: _place(row, column, field, place.shape, extent)})


def _span_around(first: int, count: int, positions: int, length: int, stride: int, before: int, after: int) -> Span:
    margin = -(-max(before, after) // stride) * stride
    begin, end = first * stride, (first + count) * stride
    stop = end + margin
    stop += (length - stop) % stride  # some networks pad by the remainder, see `spans`
    return max(0, begin - margin), min(stop, length), begin, length if first + count == positions else end


def tile_extent(flat: FlatModel, names: Sequence[str], extent: tuple[int, int], side: int) -> tuple[int, int]:
    """The height and width of the tiles of a picture for these layers (see `Mosaic.of`)."""
    stride = common_stride(_field(flat, name) for name in names)
    return span_of(extent[0], side, stride), span_of(extent[1], side, stride)


def _field(flat: FlatModel, name: str) -> Field:
    key = flat.key(name)
    field = receptive_fields(flat.program).get(key)
    if field is None or field.size is None:
        what = "sees the whole picture" if field is not None else "sees a part of the picture that is not known"
        raise NotApplicable(
            f"layer {name!r} of {flat.name} {what}, so tiles would change the result; choose earlier layers, or "
            "tile=None."
        )
    return field


def _height_and_width(record: Record, name: str) -> tuple[int, int]:
    maps = record.maps(name)
    return maps.shape[2], maps.shape[3]


def _place(row: Span, column: Span, field: Field, shape: tuple[int, int], extent: tuple[int, int]) -> Place:
    sides = []
    spans_and_sides = zip((row, column), field.stride, shape, extent, strict=True)
    for (start, _, begin, end), stride, length, pixels in spans_and_sides:
        first = begin // stride
        last = length if end == pixels else end // stride
        sides.append((first - start // stride, last - start // stride, first))
    (top, bottom, down), (left, right, across) = sides
    return Place((top, bottom), (left, right), (down, across), shape)

"""Tiles: the gradient of an objective at a picture that is too large for a single run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.errors import NetLensError, NonFiniteError
from netlens.flat import FlatModel
from netlens.flat.receptive import Field, receptive_fields
from netlens.objectives import Objective, Record
from netlens.options import check, option
from netlens.visualization._judge import Judge
from netlens.visualization.transforms import Chain, Size

LARGEST = 8192
"""The largest side of a tile, in pixels. A larger tile would hardly fit into memory."""

TILE = "Side of a tile, in pixels; none for the whole picture at once."
OVERLAP = "Margin of a tile whose gradient is not used, in pixels; by default the receptive field."

Span = tuple[int, int, int, int]
"""(start, end) of a tile along one side, and (start, end) of its inner part, whose gradient is used."""


def spans(length: int, tile: int, overlap: int, stride: int = 1) -> list[Span]:
    """The tiles along one side of a picture. Their inner parts touch without a gap.

    The margin between a tile's inner part and its end has `overlap` pixels, except at the ends of the picture. Tiles
    start at multiples of `stride`, so that a layer with this stride reads the same positions in a tile as in the whole
    picture. Divided by `stride`, their lengths leave the remainder that the length of the picture leaves, because some
    networks pad by this remainder. So tiles have up to `stride` - 1 pixels more or less than `tile`.

    >>> spans(10, 6, 1)
    [(0, 6, 0, 5), (4, 10, 5, 10)]
    """
    if length <= tile:
        return [(0, length, 0, length)]
    tile = span_of(length, tile, stride)
    step = (tile - 2 * overlap) // stride * stride
    if step < 1:
        raise NetLensError(
            f"a tile of {tile} pixels with an overlap of {overlap} on each side has no inner part; make tiles larger."
        )
    starts = [*range(0, length - tile, step), length - tile]
    cuts = [0, *(start + overlap for start in starts[1:]), length]
    return [(start, start + tile, begin, end) for start, begin, end in zip(starts, cuts, cuts[1:], strict=False)]


def common_stride(fields: Iterable[Field]) -> int:
    """The least number of pixels that is a multiple of all strides, so that tiles at its multiples fit all layers."""
    return math.lcm(*(stride for field in fields for stride in field.stride))


def span_of(length: int, tile: int, stride: int) -> int:
    """The length of the tiles along one side of a picture, see `spans`."""
    return length if length <= tile else tile // stride * stride + length % stride


@dataclass(frozen=True, repr=False, eq=False)
class Summed(Objective):
    """An objective that is a mean, turned into the sum over the values of the first layer that it reads.

    The sum over a picture is the sum of the sums over its tiles. This does not hold for means.
    """

    mean: Objective

    @property
    def layers(self) -> tuple[str, ...]:
        return self.mean.layers

    def __call__(self, record: Record) -> Tensor:
        activation = record.raw(self.layers[0])
        values = activation if isinstance(activation, Tensor) else record.logits
        return self.mean(record) * values[0].numel()

    def __repr__(self) -> str:
        return repr(self.mean)


@dataclass
class Tiled:
    """An objective and its gradient at one picture. Only one tile of the picture is in memory at a time.

    If the objective reads one layer, and the overlap is at least its receptive field, the gradient equals that of the
    whole picture. If it reads several layers, the weight of a layer may differ by a few per cent, because sizes of maps
    are rounded. An objective that is not local, such as a logit, is evaluated on each tile by itself.

    By default, the `overlap` is the receptive field, but at most an eighth of the tile.
    """

    flat: FlatModel = option(help="The network.")
    objective: Objective = option(help="What to differentiate.")
    tile: int | None = option(448, least=32, most=LARGEST, help=TILE)
    overlap: int | None = option(None, least=0, help=OVERLAP)
    picture: Size | None = option(
        None, least=1, help="A size that the network may take, for a network of one unknown size."
    )

    def __post_init__(self) -> None:
        check(self)
        self.flat.keys_of(self.objective.layers)  # a wrong name raises here
        probe = (256, 256) if self.tile is None else (self.tile, self.tile)
        other_sizes = () if self.picture is None else (self.picture,)
        size = Judge.of(self.flat, self.objective, Chain(), probe, other_sizes).size
        # a network with one fixed size gets tiles of this size; otherwise, tiles would be resized
        self._fixed = None if size == probe else size
        self._reach, self._stride = self._field()
        self._judges: dict[tuple[int, int], Judge] = {}

    def __call__(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The objective of a picture (1, C, H, W) in [0, 1], and its gradient.

        Returns:
            The sum of the objective over all positions (see `Summed`), divided by the number of pixels, as a tensor ();
            each tile counts by its share of the picture. And the gradient of the sum, in the shape of the picture.
        """
        total = torch.zeros_like(image)
        value = image.new_zeros(())
        for (top, bottom, up, down), (left, right, west, east) in self._places(image):
            of_part, gradient = self._gradient(image[:, :, top:bottom, left:right])
            total[:, :, up:down, west:east] = gradient[:, :, up - top : down - top, west - left : east - left]
            counts = (down - up) * (east - west) / ((bottom - top) * (right - left))
            value += of_part * counts
        return value / (image.shape[2] * image.shape[3]), total

    def _places(self, image: Tensor) -> Iterator[tuple[Span, Span]]:
        height, width = image.shape[2:]
        if self._fixed is not None:
            tall, wide = self._fixed
        else:
            tall, wide = (height, width) if self.tile is None else (self.tile, self.tile)
        rows = spans(height, tall, self._overlap(tall), self._stride)
        columns = spans(width, wide, self._overlap(wide), self._stride)
        return ((row, column) for row in rows for column in columns)

    def _overlap(self, tile: int) -> int:
        if self.overlap is not None:
            return self.overlap
        eighth = tile // 8
        return eighth if self._reach is None else min(eighth, self._reach)

    def _field(self) -> tuple[int | None, int]:
        """The receptive field of the layers that the objective reads, in pixels, and their stride."""
        keys = [key for key in self.flat.keys_of(self.objective.layers) if key not in self.flat.inputs]
        if self._fixed is not None or "output" in keys:
            return None, 1
        fields_by_key = receptive_fields(self.flat.program)
        fields = [fields_by_key.get(key) for key in keys]
        if not fields or any(f is None or f.size is None for f in fields):
            return None, 1
        reach = max(max(f.size) for f in fields if f is not None and f.size is not None)
        return reach, common_stride(f for f in fields if f is not None)

    def _gradient(self, image: Tensor) -> tuple[Tensor, Tensor]:
        extent = (image.shape[2], image.shape[3])
        if extent not in self._judges:
            size = extent if self._fixed is None else self._fixed
            other_sizes = () if self.picture is None else (self.picture,)
            # a small octave may be too small for the network; the network then gets it enlarged
            self._judges[extent] = Judge.of(self.flat, Summed(self.objective), Chain(), size, other_sizes)
        point = image.detach().clone().requires_grad_()
        judge = self._judges[extent]
        (value,), _ = judge(point, [torch.Generator()])
        if not value.requires_grad:
            raise NetLensError(f"{self.objective} does not depend on the picture, so a dream cannot increase it.")
        (gradient,) = torch.autograd.grad(value, point)
        if not (torch.isfinite(value) and torch.isfinite(gradient).all()):
            raise NonFiniteError(f"{self.objective} of {self.flat.name}, or its gradient, is NaN or Inf.")
        return value.detach(), gradient

"""Objectives over the activations that another picture has: content, caricature, activation grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NetLensError
from netlens.objectives.base import Objective, Record
from netlens.objectives.directions import along, check_power, power_text
from netlens.objectives.reference import Reference, check_alive, names_of, resized, weights_of


@dataclass(frozen=True, repr=False, eq=False)
class Content(Reference):
    """The squared distance between the activations of two pictures; see `content`."""

    mask: Any = None
    normalized: bool = True

    def keep(self, record: Record, name: str) -> tuple[Tensor, ...]:
        activation = record[name]
        if self.normalized:
            weights = None if self.mask is None else weights_of(self.mask, record.maps(name), name)
            check_alive(activation if weights is None else record.maps(name) * weights, record, name)
        return (activation,)

    def compared(self, record: Record, name: str, *theirs: Tensor) -> Tensor:
        mine, other = _alike(record, name, theirs[0], self.mask is not None)
        weights = None if self.mask is None else weights_of(self.mask, mine, name)
        distance, unit = (mine - other).square(), other.square()
        if weights is None:
            distance, unit = distance.flatten(1), unit.flatten(1)
            return distance.sum(1) / unit.sum(1) if self.normalized else distance.mean(1)
        distance, unit = ((values * weights).sum((1, 2, 3)) for values in (distance, unit))
        return distance / unit if self.normalized else distance / (mine.shape[1] * weights.sum())

    def sized(self, batch: Tensor, x: Tensor) -> Tensor:
        return resized(batch, x)

    def __repr__(self) -> str:
        return f"content({', '.join(map(repr, self.names))})"


@dataclass(frozen=True, repr=False, eq=False)
class Caricature(Reference):
    """How far an activation goes along that of another picture as a whole; see `caricature`."""

    cosine_power: float = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_power(self.cosine_power)

    def keep(self, record: Record, name: str) -> tuple[Tensor, ...]:
        return (record[name],)

    def compared(self, record: Record, name: str, *theirs: Tensor) -> Tensor:
        mine, other = _alike(record, name, theirs[0], False)
        positions = record.maps(name)[0, 0].numel()
        return along(mine.flatten(1), other.flatten(1), self.cosine_power) / positions

    def sized(self, batch: Tensor, x: Tensor) -> Tensor:
        return resized(batch, x)

    def __repr__(self) -> str:
        return f"caricature({', '.join(map(repr, self.names))}, cosine_power={self.cosine_power:g})"


@dataclass(frozen=True, repr=False, eq=False)
class ActivationGrid(Reference):
    """A direction for each sample: the other picture's activation at a position; see `activation_grid`."""

    cosine_power: float = 0
    positions: Sequence[tuple[int, int]] | None = None
    several: ClassVar[str] = "positions"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_power(self.cosine_power)

    def keep(self, record: Record, name: str) -> tuple[Tensor, ...]:
        maps = record.maps(name)
        if len(maps) != 1:
            raise NetLensError(f"an activation grid is of one picture, not of {len(maps)}.")
        height, width = maps.shape[2:]
        vectors = maps[0].flatten(1).T
        if self.positions is None:
            return (vectors,)
        for y, x in self.positions:
            if not (0 <= y < height and 0 <= x < width):
                raise NetLensError(f"there is no position ({y}, {x}); the map of {name!r} is {height} by {width}.")
        return (vectors[[y * width + x for y, x in self.positions]],)

    def compared(self, record: Record, name: str, *theirs: Tensor) -> Tensor:
        maps = record.maps(name)
        return along(maps, theirs[0][:, :, None, None], self.cosine_power).flatten(1).mean(1)

    def __repr__(self) -> str:
        return f"activation_grid({self.names[0]!r}{power_text(self.cosine_power)})"


def content(layers: str | Sequence[str], image: Any, *, mask: Any = None, normalized: bool = True) -> Objective:
    """The squared distance ‖Φ − Φ0‖² between the activations Φ and those of `image`, Φ0, divided by ‖Φ0‖²: subtract it.

    image: a picture, or a batch of them with one per sample. It is resized to the input beside which the objective is
    settled; where maps of other sizes come later (a schedule from low to high resolution), Φ0 is resized.
    mask: (H, W) weights of the parts of the picture, of any size. normalized=False: the mean square instead.
    Of several layers, the mean.

    Mahendran and Vedaldi 2015, https://arxiv.org/abs/1412.0035; Gatys et al. 2016, https://arxiv.org/abs/1508.06576
    """
    return Content(names_of(layers), image, mask, normalized)


def caricature(layers: str | Sequence[str], image: Any, *, cosine_power: float = 1) -> Objective:
    """The dot product of the activation with that of `image`, times cosine^cosine_power: exaggerates what is there.

    Both are taken whole, all positions and channels as one vector; the dot product is divided by the number of
    positions. A cosine below 0.1 counts as 0.1. The picture is resized as for `content`.

    Olah et al. 2018, https://distill.pub/2018/building-blocks/
    """
    return Caricature(names_of(layers), image, cosine_power)


def activation_grid(
    layer: str, image: Any, *, positions: Sequence[tuple[int, int]] | None = None, cosine_power: float = 0
) -> Objective:
    """For sample i the direction that `image` has at position i of the layer's map: what the network sees there.

    Each sample is a picture of its own, as of `direction(layer, vectors)`; the batch has as many samples as the map has
    positions, row by row, or as `positions` names as (y, x).

    Olah et al. 2018, https://distill.pub/2018/building-blocks/
    """
    named = None if positions is None else tuple((int(y), int(x)) for y, x in positions)
    return ActivationGrid((layer,), image, cosine_power, named)


def _alike(record: Record, name: str, theirs: Tensor, as_maps: bool) -> tuple[Tensor, Tensor]:
    """The activation and the one to compare it with in the same shape: as they are, else as maps of one size."""
    mine = record[name]
    if mine.shape[1:] != theirs.shape[1:] or as_maps:
        mine, theirs = record.maps(name), Record(record.flat, {record.flat.key(name): theirs}).maps(name)
    if mine.shape[2:] != theirs.shape[2:]:
        theirs = F.interpolate(theirs, mine.shape[2:], mode="bilinear", antialias=True)
    return mine, theirs

"""Objectives that compare activations with those of another picture: content, caricature, activation grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NetLensError
from netlens.objectives._base import Objective, Record
from netlens.objectives._directions import along, check_power, power_text
from netlens.objectives._reference import Reference, check_alive, resized, weights_of
from netlens.objectives.layers import names_of


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
    """The dot product of an activation with that of another picture; see `caricature`."""

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
            raise NetLensError(f"image must be one picture for an activation grid, not {len(maps)}.")
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
    """The squared distance of the activations from those of another picture: ‖Φ − Φ0‖² / ‖Φ0‖².

    Φ is the activation of the layer, Φ0 that of `image`. It is a penalty: subtract it to approach the picture.

    Args:
        layers: one layer or several; of several layers, the objective is the mean.
        image: a picture, or a batch of pictures with one per sample. Netlens resizes it to the size of the input. If
            the input grows later (a schedule from low to high resolution), netlens resizes Φ0.
        mask: (H, W), the weights of the parts of the picture, of any size.
        normalized: False for the mean of (Φ − Φ0)² instead.

    Raises:
        NotApplicable: when the objective is prepared, if Φ0 is all 0 and `normalized`.

    Example:
        >>> import torch
        >>> content("layer2", torch.zeros(3, 224, 224))
        content('layer2')

    Mahendran and Vedaldi 2015, https://arxiv.org/abs/1412.0035; Gatys et al. 2016, https://arxiv.org/abs/1508.06576
    """
    return Content(names_of(layers), image, mask, normalized)


def caricature(layers: str | Sequence[str], image: Any, *, cosine_power: float = 1) -> Objective:
    """The dot product of the activation Φ with that of another picture: Φ · Φ0 · cos(Φ, Φ0)^cosine_power / positions.

    Maximized, it exaggerates what the network sees in the picture. Φ and Φ0 are vectors of all positions and channels.
    A cosine below 0.1 counts as 0.1.

    Args:
        layers: one layer or several; of several layers, the objective is the mean.
        image: a picture, or a batch of pictures with one per sample; resized as for `content`.
        cosine_power: at least 0.

    Example:
        >>> import torch
        >>> caricature("layer2", torch.zeros(3, 224, 224), cosine_power=2)
        caricature('layer2', cosine_power=2)

    Olah et al. 2018, https://distill.pub/2018/building-blocks/
    """
    return Caricature(names_of(layers), image, cosine_power)


def activation_grid(
    layer: str, image: Any, *, positions: Sequence[tuple[int, int]] | None = None, cosine_power: float = 0
) -> Objective:
    """The direction of the activation of `image` at position i of the layer's map, for sample i.

    It is `direction(layer, vectors)` for the vectors at the positions. Each sample of the batch shows what the network
    sees at one position of the picture.

    Args:
        layer: a layer with maps.
        image: one picture.
        positions: (y, x) of each sample; None for all positions of the map, row by row.
        cosine_power: at least 0.

    Example:
        >>> import torch
        >>> activation_grid("layer2", torch.zeros(3, 224, 224), positions=[(0, 0), (3, 4)])
        activation_grid('layer2')

    Olah et al. 2018, https://distill.pub/2018/building-blocks/
    """
    pairs = None if positions is None else tuple((int(y), int(x)) for y, x in positions)
    return ActivationGrid((layer,), image, cosine_power, pairs)


def _alike(record: Record, name: str, theirs: Tensor, as_maps: bool) -> tuple[Tensor, Tensor]:
    """The activation and that of the reference in one shape: as they are, or as maps of the same size."""
    mine = record[name]
    if mine.shape[1:] != theirs.shape[1:] or as_maps:
        mine, theirs = record.maps(name), Record(record.flat, {record.flat.key(name): theirs}).maps(name)
    if mine.shape[2:] != theirs.shape[2:]:
        theirs = F.interpolate(theirs, mine.shape[2:], mode="bilinear", antialias=True)
    return mine, theirs

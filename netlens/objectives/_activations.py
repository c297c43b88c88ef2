"""Objectives that compare activations with those of another picture: content, caricature, activation grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NetLensError
from netlens.objectives._base import Objective, Record
from netlens.objectives._directions import check_power, cosine_weighted_product, power_text
from netlens.objectives._reference import Reference, check_alive, resized, weights_of
from netlens.objectives.layers import names_of
from netlens.objectives.parts import Part, Place


@dataclass(frozen=True, repr=False, eq=False)
class Content(Reference):
    """The squared distance between the activations of two pictures; see `content`."""

    mask: Any = None
    normalized: bool = True

    def reference_tensors(self, record: Record, name: str) -> tuple[Tensor, ...]:
        activation = record[name]
        if self.normalized:
            weights = None if self.mask is None else weights_of(self.mask, record.maps(name), name)
            check_alive(activation if weights is None else record.maps(name) * weights, record, name)
        return (activation,)

    def compare(self, record: Record, name: str, *reference: Tensor) -> Tensor:
        activation, reference_activation = _same_shape(record, name, reference[0], self.mask is not None)
        weights = None if self.mask is None else weights_of(self.mask, activation, name)
        distance, unit = (activation - reference_activation).square(), reference_activation.square()
        if weights is None:
            distance, unit = distance.flatten(1), unit.flatten(1)
            return distance.sum(1) / unit.sum(1) if self.normalized else distance.mean(1)
        distance, unit = ((values * weights).sum((1, 2, 3)) for values in (distance, unit))
        return distance / unit if self.normalized else distance / (activation.shape[1] * weights.sum())

    def parts(self, record: Record, at: Mapping[str, Place]) -> tuple[Part, ...]:
        return tuple(self._part(record, name, at[name], *tensors) for name, tensors in self._references())

    def joined(self, totals: Sequence[Tensor]) -> Tensor:
        values = []
        for total, (name, (reference,)) in zip(totals, self._references(), strict=True):
            shape = (reference.shape[2], reference.shape[3])
            weights = weights_of(self.mask, reference, name, shape)
            if self.normalized:
                weighted = reference if weights is None else reference * weights.sqrt()
                values.append(total / torch.linalg.vector_norm(weighted.flatten(1), dim=1).square())
            else:
                positions = shape[0] * shape[1] if weights is None else weights.sum()
                values.append(total / (reference.shape[1] * positions))
        return torch.stack(values).mean(0)

    def _part(self, record: Record, name: str, place: Place, reference: Tensor) -> Part:
        maps = place.of(record.maps(name))
        if tuple(reference.shape[1:]) != (maps.shape[1], *place.shape):
            raise NetLensError(f"the reference of {self} has another size than the picture; tiles need the same size.")
        distance = (maps - place.of_whole(reference).to(maps)).square()
        weights = weights_of(self.mask, maps, name, place.shape)
        return Part((distance if weights is None else distance * place.of_whole(weights)).sum((1, 2, 3)))

    def resized_reference(self, batch: Tensor, x: Tensor) -> Tensor:
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

    def reference_tensors(self, record: Record, name: str) -> tuple[Tensor, ...]:
        return (record[name],)

    def compare(self, record: Record, name: str, *reference: Tensor) -> Tensor:
        activation, reference_activation = _same_shape(record, name, reference[0], False)
        positions = record.maps(name)[0, 0].numel()
        return (
            cosine_weighted_product(activation.flatten(1), reference_activation.flatten(1), self.cosine_power)
            / positions
        )

    def resized_reference(self, batch: Tensor, x: Tensor) -> Tensor:
        return resized(batch, x)

    def __repr__(self) -> str:
        return f"caricature({', '.join(map(repr, self.names))}, cosine_power={self.cosine_power:g})"


@dataclass(frozen=True, repr=False, eq=False)
class ActivationGrid(Reference):
    """A direction for each sample: the other picture's activation at a position; see `activation_grid`."""

    cosine_power: float = 0
    positions: Sequence[tuple[int, int]] | None = None
    plural: ClassVar[str] = "positions"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_power(self.cosine_power)

    def reference_tensors(self, record: Record, name: str) -> tuple[Tensor, ...]:
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

    def compare(self, record: Record, name: str, *reference: Tensor) -> Tensor:
        maps = record.maps(name)
        vectors = reference[0].view(*reference[0].shape, *[1] * (maps.ndim - 2))
        return cosine_weighted_product(maps, vectors, self.cosine_power).flatten(1).mean(1)

    def __repr__(self) -> str:
        return f"activation_grid({self.names[0]!r}{power_text(self.cosine_power)})"


def content(layers: str | Sequence[str], image: Any, *, mask: Any = None, normalized: bool = True) -> Content:
    """The squared distance of the activations from those of another picture: ‖Φ − Φ0‖² / ‖Φ0‖².

    Φ is the activation of the layer, Φ0 that of `image`. It is a penalty: subtract it to approach the picture.

    Args:
        layers: One layer or several layers. For several layers, the objective is the mean.
        image: A picture, or a batch of pictures with one per sample. It is resized to the size of the input. If the
            input grows later (a schedule from low to high resolution), Φ0 is resized.
        mask: (H, W), a weight for each part of the picture, of any size.
        normalized: If False, the objective is the mean of (Φ − Φ0)² instead.

    Raises:
        NotApplicable: When the objective is prepared: all values of Φ0 are 0, and `normalized` is True.

    Example:
        >>> import torch
        >>> content("layer2", torch.zeros(3, 224, 224))
        content('layer2')

    Mahendran and Vedaldi 2015, https://arxiv.org/abs/1412.0035; Gatys et al. 2016, https://arxiv.org/abs/1508.06576
    """
    return Content(names_of(layers), image, mask, normalized)


def caricature(layers: str | Sequence[str], image: Any, *, cosine_power: float = 1) -> Objective:
    """The dot product of the activation Φ with that of another picture: Φ · Φ0 · cos(Φ, Φ0)^cosine_power / positions.

    A picture that maximizes it exaggerates what the network sees in `image`. Φ and Φ0 are vectors of the values at all
    positions and channels. A cosine below 0.1 counts as 0.1.

    Args:
        layers: One layer or several layers. For several layers, the objective is the mean.
        image: A picture, or a batch of pictures with one per sample. It is resized as in `content`.
        cosine_power: The power of the cosine, at least 0.

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
    """For sample i, the direction of the activation of `image` at position i of the layer's map.

    It is `direction(layer, vectors)`, where the vectors are the activations at these positions. So each sample of the
    batch shows what the network sees at one position of the picture.

    Args:
        layer: A layer with maps.
        image: One picture.
        positions: (y, x) for each sample. None for all positions of the map, row by row.
        cosine_power: The power of the cosine, at least 0.

    Example:
        >>> import torch
        >>> activation_grid("layer2", torch.zeros(3, 224, 224), positions=[(0, 0), (3, 4)])
        activation_grid('layer2')

    Olah et al. 2018, https://distill.pub/2018/building-blocks/
    """
    pairs = None if positions is None else tuple((int(y), int(x)) for y, x in positions)
    return ActivationGrid((layer,), image, cosine_power, pairs)


def _same_shape(record: Record, name: str, reference: Tensor, as_maps: bool) -> tuple[Tensor, Tensor]:
    """The activation and the reference in the same shape: unchanged if their shapes agree, else as maps of one size."""
    activation = record[name]
    if activation.shape[1:] != reference.shape[1:] or as_maps:
        activation, reference = record.maps(name), Record(record.flat, {record.flat.key(name): reference}).maps(name)
    if activation.shape[2:] != reference.shape[2:]:
        reference = F.interpolate(reference, activation.shape[2:], mode="bilinear", antialias=True)
    return activation, reference

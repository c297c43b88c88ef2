"""The style of a picture as an objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from netlens.errors import NotApplicable
from netlens.objectives._base import Record
from netlens.objectives._reference import Reference, check_alive, weights_of
from netlens.objectives._statistics import Gram, Statistic
from netlens.objectives.layers import names_of
from netlens.objectives.parts import Part, Place, Sweep
from netlens.precision import precise


@dataclass(frozen=True, repr=False, eq=False)
class Style(Reference):
    """The distance between a statistic of a layer's features and that of another picture; see `style`."""

    statistic: Statistic = field(default_factory=Gram)
    mask: Any = None
    image_mask: Any = None
    normalized: bool = False

    def reference_tensors(self, record: Record, name: str) -> tuple[Tensor, ...]:
        maps = precise(record.maps(name))
        weights = weights_of(self.image_mask, maps, name)
        if not self.normalized:
            return (self._statistic(maps, weights),)
        squares = maps.square().mean(1) if weights is None else maps.square().mean(1) * (weights / weights.mean())
        check_alive(squares, record, name)
        unit = squares.mean((1, 2)).sqrt()
        return self._statistic(maps / unit[:, None, None, None], weights), unit

    def compare(self, record: Record, name: str, *reference: Tensor) -> Tensor:
        statistic, *units = reference
        maps = precise(record.maps(name))
        for unit in units:
            maps = maps / unit[:, None, None, None]
        return self.statistic.distance(self._statistic(maps, weights_of(self.mask, maps, name)), statistic)

    def measured(self, sweep: Sweep) -> Style:
        """The same distance; the statistics of the reference are read in tiles."""
        units: list[Tensor] = []
        if self.normalized:
            units = [total.sqrt() for total in sweep(self._squares)]
            for name, unit in zip(self.names, units, strict=True):
                if not unit.all():
                    raise NotApplicable(
                        f"layer {name!r} is all 0 on the picture, so distances cannot be normalized; choose another."
                    )
        totals = sweep(
            lambda record, at: [
                self._part(record, name, at[name], self.image_mask, units[i : i + 1])
                for i, name in enumerate(self.names)
            ]
        )
        statistics = [self.statistic.joined(total, self.image_mask is not None) for total in totals]
        return replace(
            self, image=None, prepared_tensors=tuple((s, *units[i : i + 1]) for i, s in enumerate(statistics))
        )

    def parts(self, record: Record, at: Mapping[str, Place]) -> tuple[Part, ...]:
        return tuple(self._part(record, name, at[name], self.mask, units) for name, (_, *units) in self._references())

    def joined(self, totals: Sequence[Tensor]) -> Tensor:
        values = [
            self.statistic.distance(self.statistic.joined(total, self.mask is not None), statistic.to(total))
            for total, (_, (statistic, *_)) in zip(totals, self._references(), strict=True)
        ]
        return torch.stack(values).mean(0)

    def _part(self, record: Record, name: str, place: Place, mask: Any, units: Sequence[Tensor]) -> Part:
        maps = precise(place.of(record.maps(name)))
        for unit in units:
            maps = maps / unit.to(maps)[:, None, None, None]
        weights = weights_of(mask, maps, name, place.shape)
        return self.statistic.part(
            maps.flatten(2), None if weights is None else weights.flatten(), place.indices(maps.device), place.whole
        )

    def _squares(self, record: Record, at: Mapping[str, Place]) -> list[Part]:
        """The mean square of each layer's features, over the positions and their weights."""
        parts = []
        for name in self.names:
            squares = precise(at[name].of(record.maps(name))).square().mean(1)
            weights = weights_of(self.image_mask, squares, name, at[name].shape)
            if weights is not None:
                squares = squares * (at[name].of_whole(weights) / weights.mean())
            parts.append(Part(squares.sum((1, 2)) / at[name].whole))
        return parts

    def _statistic(self, maps: Tensor, weights: Tensor | None) -> Tensor:
        return self.statistic.of(maps.flatten(2), None if weights is None else weights.flatten())

    def __repr__(self) -> str:
        return f"style({', '.join(map(repr, self.names))}, {self.statistic!r})"


def style(
    layers: str | Sequence[str],
    image: Any,
    statistic: Statistic | None = None,
    *,
    mask: Any = None,
    image_mask: Any = None,
    normalized: bool = False,
) -> Style:
    """The distance of a statistic of features from that of another picture. It is a penalty: subtract it.

    Args:
        layers: One layer or several layers. For several layers, the objective is the mean.
        image: The picture with the style, of any size; or a batch of pictures with one per sample.
        statistic: `Gram()`, `MeanStd()`, `SlicedWasserstein()`, `Histogram()` or `Contextual()`; None for `Gram()`.
        mask: (H, W), of any size: a weight for each part of the input; only parts with a weight get the style. None
            for the whole input.
        image_mask: (H, W), of any size: a weight for each part of `image`; these parts are the style. None for the
            whole picture.
        normalized: Whether to divide features by the root mean square of the features of `image` in the layer, so that
            the scale of a layer's features does not matter.

    Example:
        >>> import torch
        >>> from netlens.objectives import MeanStd
        >>> style(["layer1", "layer2"], torch.zeros(3, 224, 224), MeanStd())
        style('layer1', 'layer2', MeanStd())

    Gatys et al. 2016, https://arxiv.org/abs/1508.06576
    """
    return Style(names_of(layers), image, Gram() if statistic is None else statistic, mask, image_mask, normalized)

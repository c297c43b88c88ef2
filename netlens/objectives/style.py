"""The style of a picture as an objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from netlens.flat.precision import precise
from netlens.objectives.base import Objective, Record
from netlens.objectives.reference import Reference, check_alive, names_of, weights_of
from netlens.objectives.statistics import Gram, Statistic


@dataclass(frozen=True, repr=False, eq=False)
class Style(Reference):
    """The distance between a statistic of a layer's features and that of another picture; see `style`."""

    statistic: Statistic = field(default_factory=Gram)
    mask: Any = None
    image_mask: Any = None
    normalized: bool = False

    def keep(self, record: Record, name: str) -> tuple[Tensor, ...]:
        maps = precise(record.maps(name))
        weights = weights_of(self.image_mask, maps, name)
        if not self.normalized:
            return (self._statistic(maps, weights),)
        seen = maps.square().mean(1) if weights is None else maps.square().mean(1) * (weights / weights.mean())
        check_alive(seen, record, name)
        unit = seen.mean((1, 2)).sqrt()
        return self._statistic(maps / unit[:, None, None, None], weights), unit

    def compared(self, record: Record, name: str, *theirs: Tensor) -> Tensor:
        statistic, *units = theirs
        maps = precise(record.maps(name))
        for unit in units:
            maps = maps / unit[:, None, None, None]
        return self.statistic.distance(self._statistic(maps, weights_of(self.mask, maps, name)), statistic)

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
) -> Objective:
    """The distance between a statistic of the features and that of `image`, averaged over layers: subtract it.

    image: a picture of any size, or a batch of them with one per sample.
    statistic: `Gram()`, the default, `MeanStd()`, `SlicedWasserstein()`, `Histogram()` or `Contextual()`.
    mask: (H, W) weights of the parts that are to have the style; image_mask: of the parts of `image` that show it.
    Either is of any size, and is averaged over the area of each position of the layer's map.
    normalized: features are divided by the root mean square of those of `image` at the layer, so that layers and
    networks of whatever scale count alike.
    """
    return Style(names_of(layers), image, Gram() if statistic is None else statistic, mask, image_mask, normalized)

"""The style of a picture as an objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from netlens.objectives._base import Objective, Record
from netlens.objectives._reference import Reference, check_alive, weights_of
from netlens.objectives._statistics import Gram, Statistic
from netlens.objectives.layers import names_of
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

"""The losses of style transfer. They are normalized, so that a weight has the same effect on every network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import Objective, Record, Statistic
from netlens.objectives.parts import Part, Place
from netlens.visualization.style._reading import PictureReader

_LEAST = 1e-3  # the lower bound of a unit, relative to the distance of a layer that is all 0

_SMOOTH = 1e-4

LOSSES = ("squared", "root")


@dataclass(frozen=True)
class Look:
    """A style.

    Args:
        picture: The network's input for the style picture (1, C, H, W).
        weight: The weight of the style.
        mask: (H, W), a weight for each part of the content; these parts get the style.
        style_mask: (H, W), a weight for each part of the style picture; these parts show the style.
    """

    picture: Tensor
    weight: float
    mask: Tensor | None = None
    style_mask: Tensor | None = None


def style_loss(
    flat: FlatModel,
    content_input: Tensor,
    looks: Sequence[Look],
    layers: Mapping[str, float],
    statistic: Statistic,
    loss: str,
    tile: int | None = None,
) -> Objective:
    """The distance of a picture from the styles: 0 for the style itself, 1 for the content (its input is given).

    The distance of each layer and each style is divided by its unit, the distance of the content. Then the quotients
    are averaged by the weights of the layers and of the styles. If the content nearly has the style already, the unit
    is a thousandth of the distance of a layer that is all 0.
    """
    reader = PictureReader(flat, tile)
    names = tuple(name for name, weight in layers.items() if weight)
    distances = [
        (weight * look.weight, objective)
        for look in looks
        if look.weight
        for weight, objective in zip(
            [layers[name] for name in names],
            reader.styles(names, look.picture, content_input, statistic, look.mask, look.style_mask),
            strict=True,
        )
    ]
    objectives = [objective for _, objective in distances]
    units = reader.values([*objectives, *map(Silenced, objectives)], content_input)
    terms = []
    for (weight, objective), distance, silent in zip(distances, units, units[len(objectives) :], strict=False):
        unit = max(distance, _LEAST * silent)
        if not unit > 0:
            raise NetLensError(
                f"layer {objective.layers[0]!r} of {flat.name} is the same for all styles; leave it out."
            )
        terms.append(weight * _lossy(objective / unit, loss))
    total = sum(look.weight for look in looks) * sum(layers.values())
    return sum(terms) / total  # type: ignore[return-value]


def content_loss(
    flat: FlatModel, content_input: Tensor, layers: Mapping[str, float], loss: str, tile: int | None = None
) -> Objective:
    """The distance of a picture from the content (its input is given): 0 for the content, 1 for its mean color.

    If the content is flat, it is its mean color. Then 1 is the distance of a layer that is all 0.
    """
    reader = PictureReader(flat, tile)
    names = tuple(name for name, weight in layers.items() if weight)
    objectives = reader.contents(names, content_input)
    plain = content_input.mean((2, 3), keepdim=True).expand_as(content_input)
    terms = []
    for name, objective, unit in zip(names, objectives, reader.values(objectives, plain), strict=True):
        terms.append(layers[name] * _lossy(objective / (unit if unit > _LEAST else 1.0), loss))
    return sum(terms) / sum(layers.values())  # type: ignore[return-value]


def _lossy(objective: Objective, loss: str) -> Objective:
    return objective if loss == "squared" else Rooted(objective)


@dataclass(frozen=True, repr=False)
class Rooted(Objective):
    """The root of an objective that is at least 0, so that large distances do not dominate the sum.

    It is smooth at 0, and f(0) = 0 and f(1) = 1.
    """

    inner: Objective

    @property
    def layers(self) -> tuple[str, ...]:
        return self.inner.layers

    def __call__(self, record: Record) -> Tensor:
        return self._root(self.inner(record))

    def parts(self, record: Record, at: Mapping[str, Place]) -> tuple[Part, ...]:
        return self.inner.parts(record, at)

    def joined(self, totals: Sequence[Tensor]) -> Tensor:
        return self._root(self.inner.joined(totals))

    @property
    def n_parts(self) -> int:
        return self.inner.n_parts

    def _root(self, value: Tensor) -> Tensor:
        root: Tensor = ((value + _SMOOTH).sqrt() - _SMOOTH**0.5) / ((1 + _SMOOTH) ** 0.5 - _SMOOTH**0.5)
        return root

    def __repr__(self) -> str:
        return f"root({self.inner!r})"


@dataclass(frozen=True, repr=False)
class Silenced(Objective):
    """An objective of layers that are all 0."""

    inner: Objective

    @property
    def layers(self) -> tuple[str, ...]:
        return self.inner.layers

    def __call__(self, record: Record) -> Tensor:
        return self.inner(_silent(record))

    def parts(self, record: Record, at: Mapping[str, Place]) -> tuple[Part, ...]:
        return self.inner.parts(_silent(record), at)

    def joined(self, totals: Sequence[Tensor]) -> Tensor:
        return self.inner.joined(totals)

    @property
    def n_parts(self) -> int:
        return self.inner.n_parts


def _silent(record: Record) -> Record:
    return Record(record.flat, {key: torch.zeros_like(value) for key, value in record.values.items()})

"""The losses of style transfer. They are normalized, so that a weight has the same effect on every network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import Objective, Record, Statistic, content, style

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
) -> Objective:
    """The distance of a picture from the styles: 0 for the style itself, 1 for the content (its input is given).

    The distance of each layer and each style is divided by its unit, the distance of the content. Then the quotients
    are averaged by the weights of the layers and of the styles. If the content nearly has the style already, the unit
    is a thousandth of the distance of a layer that is all 0.
    """
    with torch.inference_mode(False), torch.no_grad():
        record = Record(flat, flat.record(content_input, layers=list(layers)))
        silent = Record(flat, {key: torch.zeros_like(value) for key, value in record.values.items()})
        terms = []
        for look in looks:
            for name, weight in layers.items():
                if not weight or not look.weight:
                    continue
                objective = style(
                    name, look.picture, statistic, mask=look.mask, image_mask=look.style_mask, normalized=True
                ).settled(flat, content_input)
                unit = max(float(objective(record)), _LEAST * float(objective(silent)))
                if not unit > 0:
                    raise NetLensError(f"layer {name!r} of {flat.name} is the same for all styles; leave it out.")
                normalized = objective / unit
                terms.append(weight * look.weight * (normalized if loss == "squared" else Rooted(normalized)))
    total = sum(look.weight for look in looks) * sum(layers.values())
    return sum(terms) / total  # type: ignore[return-value]


def content_loss(flat: FlatModel, content_input: Tensor, layers: Mapping[str, float], loss: str) -> Objective:
    """The distance of a picture from the content (its input is given): 0 for the content, 1 for its mean color.

    If the content is flat, it is its mean color. Then 1 is the distance of a layer that is all 0.
    """
    with torch.inference_mode(False), torch.no_grad():
        plain = content_input.mean((2, 3), keepdim=True).expand_as(content_input)
        record = Record(flat, flat.record(plain, layers=list(layers)))
        terms = []
        for name, weight in layers.items():
            if not weight:
                continue
            objective = content(name, content_input).settled(flat, content_input)
            unit = float(objective(record))
            normalized = objective / (unit if unit > _LEAST else 1.0)
            terms.append(weight * (normalized if loss == "squared" else Rooted(normalized)))
    return sum(terms) / sum(layers.values())  # type: ignore[return-value]


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
        value = self.inner(record)
        root: Tensor = ((value + _SMOOTH).sqrt() - _SMOOTH**0.5) / ((1 + _SMOOTH) ** 0.5 - _SMOOTH**0.5)
        return root

    def __repr__(self) -> str:
        return f"root({self.inner!r})"


def value_at(flat: FlatModel, objective: Objective, x: Tensor) -> float:
    """The objective of one picture, given as the network's input x."""
    with torch.inference_mode(False), torch.no_grad():
        return float(objective(Record(flat, flat.record(x, layers=list(objective.layers)))))

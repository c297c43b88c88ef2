"""The losses of style transfer in units of their own, so that the same weights mean the same on every network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import Objective, Record, Statistic, content, style

_LEAST = 1e-3  # of the distance to nothing at all: a style (or content) that is nearly reached gets no louder

_SMOOTH = 1e-4

LOSSES = ("squared", "root")


@dataclass(frozen=True)
class Look:
    """A style picture as the network sees it (1, C, H, W), its weight, and the masks of its region.

    mask: (H, W) of the content that is to have the style; own_mask: of the style that shows it.
    """

    seen: Tensor
    weight: float
    mask: Tensor | None = None
    own_mask: Tensor | None = None


def style_loss(
    flat: FlatModel, seen: Tensor, looks: Sequence[Look], layers: Mapping[str, float], statistic: Statistic, loss: str
) -> Objective:
    """How far a picture is from the styles: 0 at the style itself, 1 at the content `seen` (1, C, H, W).

    It is 1 at every layer and for every style, before these are weighed; the weights of the layers, and those of the
    styles, are shares of their sum. Where the content has that style nearly as it is, the unit is a thousandth of the
    distance of a layer that is all 0.
    """
    with torch.inference_mode(False), torch.no_grad():
        record = Record(flat, flat.record(seen, layers=list(layers)))
        silent = Record(flat, {key: torch.zeros_like(value) for key, value in record.values.items()})
        terms = []
        for look in looks:
            for name, weight in layers.items():
                if not weight or not look.weight:
                    continue
                one = style(
                    name, look.seen, statistic, mask=look.mask, image_mask=look.own_mask, normalized=True
                ).settled(flat, seen)
                unit = max(float(one(record)), _LEAST * float(one(silent)))
                if not unit > 0:
                    raise NetLensError(f"layer {name!r} of {flat.name} tells no style from another; leave it out.")
                unified = one / unit
                terms.append(weight * look.weight * (unified if loss == "squared" else Rooted(unified)))
    total = sum(look.weight for look in looks) * sum(layers.values())
    return sum(terms) / total  # type: ignore[return-value]


def content_loss(flat: FlatModel, seen: Tensor, layers: Mapping[str, float], loss: str) -> Objective:
    """How far a picture is from the content `seen` (1, C, H, W): 0 at it, 1 at a plain picture of its mean color."""
    with torch.inference_mode(False), torch.no_grad():
        plain = seen.mean((2, 3), keepdim=True).expand_as(seen)
        record = Record(flat, flat.record(plain, layers=list(layers)))
        terms = []
        for name, weight in layers.items():
            if not weight:
                continue
            one = content(name, seen).settled(flat, seen)
            unified = one / max(float(one(record)), _LEAST)
            terms.append(weight * (unified if loss == "squared" else Rooted(unified)))
    return sum(terms) / sum(layers.values())  # type: ignore[return-value]


@dataclass(frozen=True, repr=False)
class Rooted(Objective):
    """The root of an objective from 0, so that what is far off does not outweigh all else; smooth at 0, and 1 at 1."""

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


def value_at(flat: FlatModel, objective: Objective, seen: Tensor) -> float:
    """The objective of one picture, as the network sees it."""
    with torch.inference_mode(False), torch.no_grad():
        return float(objective(Record(flat, flat.record(seen, layers=list(objective.layers)))))

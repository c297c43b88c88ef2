"""Attributions: which channels and places of a layer speak for a class, over a whole data set, as a question."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from netlens.attribution import Attribution
from netlens.attribution.method import method_from
from netlens.errors import NetLensError, NotApplicable
from netlens.evaluation import share_inside
from netlens.flat import FlatModel
from netlens.flat.keys import OUTPUT, SCORES, part
from netlens.masks import listing, masks_of
from netlens.objectives import Objective, logit
from netlens.options import check, option
from netlens.studies._summary import AttributionSummary, ByClass
from netlens.survey import Batch, Question, State

_SIDES = ("predicted", "true")
_SUMS = ("count", "channel_sums", "place_sums", "share_sums", "masked")


@dataclass(frozen=True)
class Attributions(Question):
    """Which channels of a layer, and which places, speak for the predicted and for the true class.

    Each sample is explained for the class that the network predicts, and for its label if it has one. The contributions
    of a sample are divided by the sum of their magnitudes, so that each sample counts the same. They are summed over
    places for the channels, and over channels for the places, in float64, by class. With masks, the share of the
    positive contributions that lies on the mask is measured, too (see `netlens.evaluation.share_inside`).

    All inputs must have one size.

    Example:
        >>> from netlens import open_network
        >>> from netlens.survey import Survey
        >>> from netlens.world.scene import scene
        >>> data = [(scene(i, 64, label=i).image, i) for i in range(3)]
        >>> question = Attributions("trunk_output.block2")
        >>> summary = Survey(open_network(), data, [question], progress=False).run().answer(question)
        >>> summary.true.classes.tolist(), summary.true.channels.shape, summary.true.places.shape
        ([0, 1, 2], torch.Size([3, 64]), torch.Size([3, 16, 16]))
    """

    runs: ClassVar[bool] = True

    layer: str = option(help="The layer, by any name; `input` for the picture itself.")
    method: str = option("input_x_gradient", help="The method by name, with its options after a colon.")
    masks: str | Path | None = option(None, help="A folder of masks, with the paths of the pictures; none for none.")
    head: str | int | None = option(None, help="The output that holds the scores; none for the usual one.")

    def __post_init__(self) -> None:
        check(self)
        if self.masks is not None:
            object.__setattr__(self, "masks", os.fspath(self.masks))
            # no option, but a part of the fingerprint: other masks give other parts of a survey
            object.__setattr__(self, "_listing", listing(str(self.masks)))
        if not method_from(self.method).reads_objective:
            raise NetLensError(f"{self.method} explains no class; choose a method that does, such as input_x_gradient.")

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer, part(SCORES, self.head), OUTPUT)

    def update(self, state: State, batch: Batch) -> State:
        scores = batch.record.scores(self.head).cpu()
        if scores.ndim != 2:
            raise NotApplicable(
                f"{batch.record.flat.name} has scores of shape {tuple(scores.shape)}, but Attributions needs one score "
                "of each class per sample."
            )
        # of equal scores, the lower class, as in Predictions
        predicted = scores.argsort(dim=1, descending=True, stable=True)[:, 0]
        of_predicted = self._explained(batch, torch.arange(len(batch)), predicted)
        # a sample is explained once more only if its label is another class
        other = ((batch.labels >= 0) & (batch.labels != predicted)).nonzero()[:, 0]
        of_labels = {name: values.clone() for name, values in of_predicted.items()}
        if len(other):
            for name, values in self._explained(batch, other, batch.labels[other]).items():
                of_labels[name][other] = values
        labeled = (batch.labels >= 0).nonzero()[:, 0]
        sums = {f"predicted.{name}": values for name, values in _by_class(of_predicted, predicted).items()}
        if len(labeled):
            by_label = _by_class({k: v[labeled] for k, v in of_labels.items()}, batch.labels[labeled])
            sums |= {f"true.{name}": values for name, values in by_label.items()}
        return self.merge(state, sums)

    def merge(self, a: State, b: State) -> State:
        merged: dict[str, Tensor] = {}
        for side in _SIDES:
            parts = [_of_side(state, side) for state in (a, b)]
            parts = [one for one in parts if one]
            joined = _joined(parts[0], parts[1]) if len(parts) == 2 else parts[0] if parts else {}
            merged |= {f"{side}.{name}": values for name, values in joined.items()}
        return merged

    def finish(self, state: State) -> AttributionSummary:
        sides = (_of_side(state, side) for side in _SIDES)
        predicted, true = (ByClass(**one) if one else ByClass.empty() for one in sides)
        return AttributionSummary(self.layer, self.method, predicted, true)

    def _explained(self, batch: Batch, rows: Tensor, classes: Tensor) -> dict[str, Tensor]:
        """What is summed up, for some samples of a batch and a class of each of them."""
        assert batch.flat is not None
        attribution = explained(batch.flat, batch.x[rows], self.method, self.layer, classes, self.head)
        maps = maps_of(attribution).cpu().double()
        maps = maps / maps.abs().sum((1, 2, 3), keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        shares, masked = torch.zeros(len(rows), dtype=torch.float64), torch.zeros(len(rows), dtype=torch.bool)
        if self.masks is not None:
            names = [batch.names[row] for row in rows.tolist()]
            masks, masked = masks_of(str(self.masks), names, batch.preprocessing, batch.size)
            shares = share_inside(attribution, masks.to(batch.x.device)).cpu().double() * masked
        one = torch.ones(len(rows), dtype=torch.int64)
        sums = (one, maps.sum((2, 3)), maps.sum(1), shares, masked.long())
        return dict(zip(_SUMS, sums, strict=True))


def explained(
    flat: FlatModel, x: Tensor, method: str, layer: str, classes: Tensor, head: str | int | None = None
) -> Attribution:
    """The attribution of the score of one class of each sample to a layer, by a method named in a text."""
    listed: list[int] = classes.tolist()
    objective: Objective = logit(listed) if head is None else logit((head, listed))
    return method_from(method)(flat, x, objective, layer)


def maps_of(attribution: Attribution) -> Tensor:
    """(N, C, h, w): the values of an attribution over the image. A vector of features has one position."""
    values = attribution.values
    maps = values[:, :, None, None] if values.ndim == 2 and attribution.maps is None else attribution.spatial
    if maps.ndim != 4:
        raise NotApplicable(f"{attribution} has {maps.ndim - 2} sides; a summary is of pictures, which have two.")
    return maps


def _of_side(state: State, side: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{side}."): one for name, one in state.items() if name.startswith(f"{side}.")}


def _by_class(values: Mapping[str, Tensor], classes: Tensor) -> dict[str, Tensor]:
    """The sums of each class that occurs, in the order of the samples."""
    distinct, index = classes.unique(return_inverse=True)
    sums = {
        name: torch.zeros(len(distinct), *one.shape[1:], dtype=one.dtype).index_add_(0, index, one)
        for name, one in values.items()
    }
    return {"classes": distinct, **sums}


def _joined(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The sums of both, by class."""
    if a["place_sums"].shape[1:] != b["place_sums"].shape[1:]:
        sizes = tuple(a["place_sums"].shape[1:]), tuple(b["place_sums"].shape[1:])
        raise NotApplicable(
            f"the maps of the layer have different sizes, {sizes[0]} and {sizes[1]}, because the pictures do; give the "
            "survey a preprocessing= with one size."
        )
    classes = torch.cat([a["classes"], b["classes"]]).unique()
    joined = {"classes": classes}
    for name in _SUMS:
        total = torch.zeros(len(classes), *a[name].shape[1:], dtype=a[name].dtype)
        total[torch.searchsorted(classes, a["classes"])] = a[name]
        total[torch.searchsorted(classes, b["classes"])] += b[name]
        joined[name] = total
    return joined

"""Explained: heat maps of samples for classes, computed in batches, as pictures of the report."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from itertools import groupby

import torch
from torch import Tensor

from netlens import heatmaps
from netlens.attribution import Attribution, Method
from netlens.errors import ImageError, NetLensError, NetLensWarning, NonFiniteError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.intake import fitted
from netlens.flat.keys import OUTPUT, SCORES, part
from netlens.objectives import Record, logit
from netlens.report._album import SIDE, Album, Shot
from netlens.results import Provenance
from netlens.show import overlay
from netlens.survey import Pictures, Predicted

Question = tuple[int, int]
"""The number of a sample, and a class."""

_BATCH = 16
_MAP = 64  # the side of maps that are averaged, in cells
_TOLERANCE = 0.01  # of a confidence, between the survey and now


class Explained:
    """The heat maps of a report.

    Args:
        flat: The network.
        pictures: The pictures of the survey.
        method: The method.
        head: The output that holds the scores; None for the usual one.
        album: Where the pictures go.

    Attributes:
        missing: Why a picture is not shown, by sample.
        refused: Why the method does not apply to the network; empty if it does.
    """

    def __init__(
        self, flat: FlatModel, pictures: Pictures, method: Method, head: str | int | None, album: Album
    ) -> None:
        self.flat, self.pictures, self.method, self.head, self.album = flat, pictures, method, head, album
        self.missing: dict[int, str] = {}
        self.refused = ""
        self._maps: dict[Question, Tensor] = {}
        self._shots: dict[Question, Shot] = {}

    def prepare(
        self, questions: Iterable[Question], shown: Collection[Question], progress: Callable[[int], object]
    ) -> None:
        """Compute the heat maps of these questions.

        Args:
            questions: The questions; each is answered once.
            shown: Those whose heat maps are drawn. The others are for means.
            progress: Called after each batch, with the number of its questions.
        """
        unique = list(dict.fromkeys(questions))
        for start in range(0, len(unique), _BATCH):
            part = unique[start : start + _BATCH]
            readable = [(question, x) for question in part if (x := self.input(question[0])) is not None]
            by_shape = sorted(readable, key=lambda pair: tuple(pair[1].shape))
            for _, group in groupby(by_shape, key=lambda pair: tuple(pair[1].shape)):
                pairs = list(group)
                self._explain([question for question, _ in pairs], torch.cat([x for _, x in pairs]), shown)
            progress(len(part))

    def check(self, predicted: Predicted, samples: Sequence[int], names: Sequence[str]) -> None:
        """Raise unless the network says of some samples what it said in the survey."""
        rows = {int(sample): row for row, sample in enumerate(predicted.samples)}
        for sample in samples[:_BATCH]:
            x = self.input(sample)
            if x is None:
                continue
            x = fitted(self.flat, x)
            flat = self.flat.fitting(x)
            with torch.no_grad():
                record = Record(flat, flat.record(x, layers=_layers(flat, self.head)))
                best = int(predicted.top[rows[sample], 0])
                now = record.probabilities(self.head)[0, best].item()
            if abs(now - float(predicted.confidence[rows[sample]])) > _TOLERANCE:
                raise NetLensError(
                    f"{self.flat.name} says of {names[sample]} something else than in the survey, so its weights, its "
                    "preprocessing or the pictures have changed; run the survey again."
                )

    def input(self, sample: int) -> Tensor | None:
        """(1, C, H, W): what the network gets; None if the picture cannot be read any more."""
        if sample in self.missing:
            return None
        try:
            return self.pictures.input(sample)
        except (ImageError, NonFiniteError) as error:
            self.missing[sample] = str(error)
            return None

    def picture(self, sample: int) -> Shot | None:
        """The picture of a sample; None if it cannot be read any more."""
        if (shot := self.album.shots.get(_named(sample))) is not None:
            return shot
        if self.input(sample) is None:
            return None
        return self.album.add(_named(sample), self.pictures.image(sample))

    def crop(self, sample: int, box: tuple[int, int, int, int], side: int) -> Shot | None:
        """A part (top, bottom, left, right) of the preprocessed picture of a sample; None if it cannot be read."""
        if self.input(sample) is None:
            return None
        top, bottom, left, right = box
        name = f"{_named(sample)}-{top}-{bottom}-{left}-{right}"
        return self.album.add(name, self.pictures.image(sample)[:, top:bottom, left:right], side)

    def map(self, sample: int, target: int) -> Shot | None:
        """The picture of a sample with its heat map for a class; None if there is none."""
        return self._shots.get((sample, target))

    def mean(self, samples: Sequence[int], target: int) -> Shot | None:
        """The mean heat map of some samples for a class, over their mean picture; None if there is none."""
        samples_with_map = [sample for sample in samples if (sample, target) in self._maps]
        if not samples_with_map:
            return None
        maps = torch.stack([self._maps[sample, target] for sample in samples_with_map]).mean(0)
        images = [self.pictures.image(sample)[None] for sample in samples_with_map]
        size = images[0].shape[2:]
        image = torch.cat([heatmaps.resize(one, (size[0], size[1])) for one in images]).mean(0, keepdim=True)
        origin = Provenance("mean", self.flat.name, repr(logit(target)))
        drawn = overlay(Attribution(maps[None], image, origin, reduction="cam"), smallest=SIDE)[0]
        return self.album.add(f"class-{target}", drawn)

    def _explain(self, questions: Sequence[Question], x: Tensor, shown: Collection[Question]) -> None:
        if self.refused:
            return
        targets = [target for _, target in questions]
        x = fitted(self.flat, x)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".* found nothing", NetLensWarning)  # the page shows an empty map
                objective = logit(targets if self.head is None else (self.head, targets))
                attribution = self.method(self.flat.fitting(x), x, objective)
            maps = attribution.heatmap(_MAP).float().cpu()
        except NotApplicable as error:
            self.refused = str(error)
            return
        for row, (question, one) in enumerate(zip(questions, maps, strict=True)):
            self._maps[question] = one
            if question in shown:
                image = self.pictures.image(question[0])[None]
                pixels = overlay(replace(attribution[row], image=image), smallest=SIDE)[0]
                self._shots[question] = self.album.add(f"{_named(question[0])}-class-{question[1]}", pixels)


def _named(sample: int) -> str:
    return f"sample-{sample}"


def _layers(flat: FlatModel, head: str | int | None) -> list[str]:
    return [part(SCORES, head), OUTPUT]

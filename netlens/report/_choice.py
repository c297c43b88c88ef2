"""Choice: which samples and which channels a report shows. It follows from the survey alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.survey import Loss, Pair, Predicted, SurveyResult


@dataclass(frozen=True)
class ChosenLoss:
    """A loss, and the classes whose heat maps stand beside the picture."""

    loss: Loss
    targets: tuple[int, ...]


@dataclass(frozen=True)
class ChosenPair:
    """Two classes that are confused, and some samples."""

    pair: Pair
    samples: tuple[int, ...]


@dataclass(frozen=True)
class ChosenClass:
    """A class, samples whose maps are averaged, and those of them that are shown."""

    index: int
    averaged: tuple[int, ...]
    shown: tuple[int, ...]


def losses_of(survey: SurveyResult, predicted: Predicted, most: int) -> tuple[ChosenLoss, ...]:
    """The largest losses, each with the label and the strongest other class."""
    rows = {int(sample): row for row, sample in enumerate(predicted.samples)}
    losses = []
    for loss in survey.losses.top(most) if most else ():
        others = [index for index in predicted.top[rows[loss.sample]].tolist() if index != loss.label]
        losses.append(ChosenLoss(loss, (loss.label, *others[:1])))
    return tuple(losses)


def pairs_of(predicted: Predicted, most: int, examples: int) -> tuple[ChosenPair, ...]:
    """The pairs that are confused most often, with the samples of the highest confidence."""
    pairs = []
    for pair in predicted.pairs(most) if most else ():
        rows = ((predicted.labels == pair.label) & (predicted.top[:, 0] == pair.predicted)).nonzero().flatten()
        order = predicted.confidence[rows].argsort(descending=True, stable=True)[:examples]
        pairs.append(ChosenPair(pair, _samples(predicted, rows[order])))
    return tuple(pairs)


def classes_of(predicted: Predicted, most: int, averaged: int, examples: int) -> tuple[ChosenClass, ...]:
    """The classes that are predicted right least often; without labels, those that are predicted most often."""
    is_labeled = bool(predicted.labeled.any())
    of = predicted.labels if is_labeled else predicted.top[:, 0]
    counts = of[of >= 0].bincount(minlength=predicted.classes)
    ranks = predicted.per_class if is_labeled else -counts.double()
    order = [int(index) for index in ranks.nan_to_num(torch.inf).argsort(stable=True) if counts[index]][:most]
    classes = []
    for index in order:
        samples = _samples(predicted, (of == index).nonzero().flatten())
        several = _spread(samples, averaged)
        classes.append(ChosenClass(index, several, _spread(several, examples)))
    return tuple(classes)


def channels_of(survey: SurveyResult, layer: str, channels: int, most: int) -> tuple[int, ...]:
    """The channels of a layer with the largest variance, in their order; without statistics, the first ones."""
    try:
        variance = survey.statistics(layer).variance
    except NetLensError:
        return tuple(range(min(channels, most)))
    return tuple(sorted(variance.argsort(descending=True, stable=True)[:most].tolist()))


def _samples(predicted: Predicted, rows: Tensor) -> tuple[int, ...]:
    return tuple(predicted.samples[rows].tolist())


def _spread(samples: tuple[int, ...], most: int) -> tuple[int, ...]:
    """Some of the samples at equal distances, with the first."""
    count = min(most, len(samples))
    return tuple(samples[i * len(samples) // count] for i in range(count))

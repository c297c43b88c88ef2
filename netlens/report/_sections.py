"""Sections: what the pages of a report say, as plain values for the templates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from netlens.report._album import Shot
from netlens.report._choice import ChosenClass, ChosenLoss, ChosenPair
from netlens.report._explained import Explained
from netlens.survey import Predicted, SurveyResult

_LARGEST_TABLE = 16  # classes of a matrix of confusion that one can read


@dataclass(frozen=True)
class Sight:
    """A picture with its heat maps, and what is said of it.

    Args:
        name: The name of the sample.
        picture: The picture; None if it cannot be read any more.
        why: Why it cannot be read.
        maps: What each heat map is about, and the heat map.
        label: The name of its class; None if it has no label.
        predicted: The name of the predicted class.
        confidence: Its probability.
        loss: The loss; None if it has no label.
    """

    name: str
    picture: Shot | None
    why: str
    maps: tuple[tuple[str, Shot], ...]
    label: str | None
    predicted: str
    confidence: float
    loss: float | None

    @property
    def is_right(self) -> bool:
        """Whether the label is predicted."""
        return self.label == self.predicted


@dataclass(frozen=True)
class PairSection:
    """Two classes that are confused, with pictures."""

    label: str
    predicted: str
    count: int
    total: int
    sights: tuple[Sight, ...]


@dataclass(frozen=True)
class ClassSection:
    """What the network looks at in pictures of one class."""

    name: str
    count: int
    right: int | None
    averaged: int
    mean: Shot | None
    sights: tuple[Sight, ...]


@dataclass(frozen=True)
class Matrix:
    """A matrix of confusion, of all classes or of those that are confused most."""

    names: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]
    totals: tuple[int, ...]
    is_whole: bool


@dataclass(frozen=True)
class ClassRow:
    """How often a class is predicted right, and how often it is predicted at all."""

    name: str
    count: int
    right: int
    predicted: int


class Sections:
    """Makes the sections about samples.

    Args:
        survey: The survey.
        predicted: What the network says about each sample.
        explained: The pictures and the heat maps.
    """

    def __init__(self, survey: SurveyResult, predicted: Predicted, explained: Explained) -> None:
        self.survey, self.predicted, self.explained = survey, predicted, explained
        self._rows = {int(sample): row for row, sample in enumerate(predicted.samples)}
        self._folders = _folders(survey, predicted) if survey.classes is None else {}

    def name(self, index: int) -> str:
        """The name of a class, without its synonyms."""
        names = self.survey.classes
        if names is None or index >= len(names):
            return self._folders.get(index, f"class {index}")
        return names[index].split(",")[0]

    def losses(self, losses: Sequence[ChosenLoss]) -> list[Sight]:
        """The pictures with the largest losses, with the maps of the label and of the strongest other class."""
        return [self._sight(one.loss.sample, one.targets) for one in losses]

    def pairs(self, pairs: Sequence[ChosenPair]) -> list[PairSection]:
        """The pairs that are confused most often."""
        totals = self.predicted.confusion.sum(1)
        return [
            PairSection(
                self.name(one.pair.label),
                self.name(one.pair.predicted),
                one.pair.count,
                int(totals[one.pair.label]),
                tuple(self._sight(sample, (one.pair.predicted,)) for sample in one.samples),
            )
            for one in pairs
        ]

    def classes(self, classes: Sequence[ChosenClass]) -> list[ClassSection]:
        """What the network looks at, class by class."""
        confusion = self.predicted.confusion
        is_labeled = bool(self.predicted.labeled.any())
        counts = confusion.sum(1) if is_labeled else self.predicted.top[:, 0].bincount(minlength=confusion.shape[0])
        return [
            ClassSection(
                self.name(one.index),
                int(counts[one.index]),
                int(confusion[one.index, one.index]) if is_labeled else None,
                len(one.averaged),
                self.explained.mean(one.averaged, one.index),
                tuple(self._sight(sample, (one.index,)) for sample in one.shown),
            )
            for one in classes
        ]

    def per_class(self) -> list[ClassRow]:
        """The classes with samples, or of which some sample is predicted; those that are right least often first."""
        confusion = self.predicted.confusion
        rows = [
            ClassRow(self.name(i), int(confusion[i].sum()), int(confusion[i, i]), int(confusion[:, i].sum()))
            for i in range(len(confusion))
        ]
        nonempty = [row for row in rows if row.count or row.predicted]
        return sorted(nonempty, key=lambda row: row.right / row.count if row.count else 2)

    def matrix(self) -> Matrix | None:
        """The matrix of confusion; None if nothing is confused among too many classes."""
        confusion = self.predicted.confusion
        chosen = [i for i in range(len(confusion)) if confusion[i].sum() or confusion[:, i].sum()]
        is_whole = len(chosen) <= _LARGEST_TABLE
        if not is_whole:
            involved: list[int] = []
            for pair in self.predicted.pairs(_LARGEST_TABLE):
                new = [i for i in (pair.label, pair.predicted) if i not in involved]
                involved += new if len(involved) + len(new) <= _LARGEST_TABLE else []
            chosen = sorted(involved)
        if not chosen:
            return None
        rows = tuple(tuple(int(confusion[i, j]) for j in chosen) for i in chosen)
        return Matrix(tuple(map(self.name, chosen)), rows, tuple(int(confusion[i].sum()) for i in chosen), is_whole)

    def _sight(self, sample: int, targets: Sequence[int]) -> Sight:
        row = self._rows[sample]
        label, best = int(self.predicted.labels[row]), int(self.predicted.top[row, 0])
        picture = self.explained.picture(sample)
        return Sight(
            name=self.survey.names[sample],
            picture=picture,
            why=reason_without_folder(self.survey.names[sample], self.explained.missing.get(sample, "")),
            maps=tuple(self._maps(sample, targets)),
            label=None if label < 0 else self.name(label),
            predicted=self.name(best),
            confidence=float(self.predicted.confidence[row]),
            loss=None if label < 0 else float(self.predicted.losses[row]),
        )

    def _maps(self, sample: int, targets: Sequence[int]) -> Iterator[tuple[str, Shot]]:
        for target in dict.fromkeys(targets):
            if (shot := self.explained.map(sample, target)) is not None:
                yield self.name(target), shot


def _folders(survey: SurveyResult, predicted: Predicted) -> dict[int, str]:
    """The folders of the samples of each label, as names of classes; empty if some label has samples of several."""
    folders: dict[int, str] = {}
    for sample, label in zip(predicted.samples.tolist(), predicted.labels.tolist(), strict=True):
        folder = survey.names[sample].partition("/")[0]
        if label >= 0 and (folder == survey.names[sample] or folders.setdefault(label, folder) != folder):
            return {}
    return folders if len(set(folders.values())) == len(folders) else {}


def reason_without_folder(name: str, reason: str) -> str:
    """Why a sample cannot be read, without the folder of the data: a report may be sent to others.

    >>> reason_without_folder("cats/a.jpg", "/home/me/data/cats/a.jpg ends early.")
    'cats/a.jpg ends early.'
    """
    before, path, after = reason.partition(name)
    return f"{path}{after}" if path and Path(before).is_absolute() else reason


def last_part(name: str) -> str:
    """The last part of the name of a sample.

    >>> last_part("cats/tabby.jpg")
    'tabby.jpg'
    """
    return Path(name).name or name

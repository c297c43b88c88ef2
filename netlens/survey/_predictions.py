"""Predictions: what a network says about each sample, and everything that follows from that and the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from netlens.errors import NetLensError, NotApplicable
from netlens.flat.heads import head_of
from netlens.flat.keys import OUTPUT, SCORES, part
from netlens.options import check, checked, option
from netlens.results.drawn import Drawn
from netlens.survey._pictures import Pictured, Pictures, stem
from netlens.survey._question import Batch, Question, State
from netlens.survey._tables import Columns, class_name, frame_of, listed

if TYPE_CHECKING:
    from netlens.show import Picture


@dataclass(frozen=True)
class Loss:
    """The loss of one sample.

    Attributes:
        value: The negative logarithm of the probability of the label.
        sample: The number of the sample in the data.
        name: The name of the sample.
        label: Its class.
        predicted: The class that the network predicts.
    """

    value: float
    sample: int
    name: str
    label: int
    predicted: int


@dataclass(frozen=True, eq=False, repr=False)
class TopLosses(Pictured[Loss]):
    """The samples with the largest losses, largest first, which draw themselves.

    Args:
        items: The losses.
        pictures: The pictures of the survey.
        classes: The names of the classes.
    """

    classes: Sequence[str] | None = field(default=None, repr=False)

    def frame(self) -> Any:
        """A DataFrame of pandas with one row for each sample."""
        return frame_of(loss_columns(self.items, self.classes))

    def _line(self, item: Loss) -> str:
        return f"{item.value:7.3f}  {item.name}: {class_name(item.label, self.classes)}, {self._words(item)}"

    def _words(self, item: Loss) -> str:
        is_right = item.label == item.predicted
        return "predicted right" if is_right else f"taken for {class_name(item.predicted, self.classes)}"

    def _drawing(self, item: Loss, pictures: Pictures) -> tuple[Tensor, str, str]:
        title = f"{class_name(item.label, self.classes)} · {item.value:.3g}"
        return pictures.image(item.sample), title, f"{self._words(item)} · {stem(item.name)}"


@dataclass(frozen=True)
class Losses:
    """The losses of all samples that have a label.

    Attributes:
        values: (n,), float64: the negative logarithm of the probability of the label.
        samples: (n,): the numbers of the samples, ascending.
        labels: (n,): their classes.
        predicted: (n,): the classes that the network predicts.
        names: The names of all samples.
        classes: The names of the classes.
        pictures: The pictures of the survey.
    """

    values: Tensor
    samples: Tensor
    labels: Tensor
    predicted: Tensor
    names: Sequence[str] = field(repr=False)
    classes: Sequence[str] | None = field(default=None, repr=False)
    pictures: Pictures | None = field(default=None, repr=False)

    def top(self, k: int = 20) -> TopLosses:
        """The k largest losses, largest first. Of equal ones, the earlier sample comes first."""
        k = checked("k", k, int, least=1)
        return TopLosses(self._of(self.values.argsort(descending=True, stable=True)[:k]), self.pictures, self.classes)

    def frame(self) -> Any:
        """A DataFrame of pandas with one row for each sample that has a label, in the order of the data."""
        return frame_of(loss_columns(self._of(torch.arange(len(self.values))), self.classes))

    def _of(self, order: Tensor) -> tuple[Loss, ...]:
        rows = (part_[order].tolist() for part_ in (self.values, self.samples, self.labels, self.predicted))
        return tuple(Loss(v, s, self.names[s], label, predicted) for v, s, label, predicted in zip(*rows, strict=True))


def loss_columns(losses: Sequence[Loss], classes: Sequence[str] | None) -> Columns:
    """The columns of a table of losses."""
    return {
        "sample": [loss.sample for loss in losses],
        "name": [loss.name for loss in losses],
        "label": [class_name(loss.label, classes) for loss in losses],
        "predicted": [class_name(loss.predicted, classes) for loss in losses],
        "loss": [loss.value for loss in losses],
    }


@dataclass(frozen=True)
class Calibration:
    """How often predictions of a confidence are right.

    Attributes:
        edges: (bins + 1,): the edges of the bins, from 0 to 1. A bin holds its lower edge, and the last both.
        count: (bins,): the number of samples.
        confidence: (bins,), float64: their mean probability of the predicted class; NaN in an empty bin.
        accuracy: (bins,), float64: the share of them that is predicted right; NaN in an empty bin.
        error: The expected calibration error: the mean distance of accuracy and confidence, weighted by the count.
    """

    edges: Tensor
    count: Tensor
    confidence: Tensor
    accuracy: Tensor
    error: float


@dataclass(frozen=True)
class Pair:
    """A class that is taken for another one."""

    label: int
    predicted: int
    count: int


@dataclass(frozen=True, repr=False)
class Predicted(Drawn):
    """What a network says about each sample.

    Attributes:
        samples: (n,): the numbers of the samples, ascending.
        labels: (n,): their classes; -1 where there is none.
        top: (n, 5): the classes with the highest scores, highest first; of equal ones, the lower class is first.
        confidence: (n,), float64: the probability of the first of them.
        losses: (n,), float64: the negative logarithm of the probability of the label; NaN where there is none.
        classes: The number of classes.
        names: The names of all samples; empty if they are not known.
        class_names: The names of the classes; None if they have none.
    """

    samples: Tensor
    labels: Tensor
    top: Tensor
    confidence: Tensor
    losses: Tensor
    classes: int
    names: Sequence[str] = field(default=(), repr=False)
    class_names: Sequence[str] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        right = f", {self.top1:.1%} of {int(self.labeled.sum()):,} right" if self.labeled.any() else ""
        return f"Predicted({len(self.samples):,} samples, {self.classes:,} classes{right})"

    @property
    def labeled(self) -> Tensor:
        """(n,): whether a sample has a label."""
        return self.labels >= 0

    @property
    def top1(self) -> float:
        """The share of labeled samples whose label is predicted; NaN without labels."""
        return self._share(1)

    @property
    def top5(self) -> float:
        """The share of labeled samples whose label is among the five highest scores; NaN without labels."""
        return self._share(5)

    @property
    def confusion(self) -> Tensor:
        """(classes, classes): the number of samples of each label (row) and predicted class (column)."""
        labels, predicted = self.labels[self.labeled], self.top[self.labeled, 0]
        return (labels * self.classes + predicted).bincount(minlength=self.classes**2).view(self.classes, self.classes)

    def confusion_frame(self) -> Any:
        """The confusion as a DataFrame of pandas: labels are its rows and predictions its columns, by name."""
        names = [class_name(index, self.class_names) or "" for index in range(self.classes)]
        frame = frame_of(dict(zip(names, listed(self.confusion.T), strict=True)))
        return frame.set_axis(names, axis="index").rename_axis(index="label", columns="predicted")

    @property
    def per_class(self) -> Tensor:
        """(classes,), float64: the share of the samples of each label that is predicted right; NaN without samples."""
        confusion = self.confusion
        return confusion.diagonal().double() / confusion.sum(1)

    def pairs(self, k: int = 10) -> tuple[Pair, ...]:
        """The k pairs of classes that are confused most often. Of equal counts, the lower classes come first."""
        k = checked("k", k, int, least=1)
        wrong = self.confusion.fill_diagonal_(0).flatten()
        order = wrong.argsort(descending=True, stable=True)[:k]
        rows = zip(order.tolist(), wrong[order].tolist(), strict=True)
        return tuple(Pair(i // self.classes, i % self.classes, count) for i, count in rows if count)

    def calibration(self, bins: int = 15) -> Calibration:
        """How often predictions of a confidence are right, in bins of the same width.

        Guo et al. 2017, https://arxiv.org/abs/1706.04599
        """
        bins = checked("bins", bins, int, least=1)
        edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
        confidence, labels = self.confidence[self.labeled], self.labels[self.labeled]
        right = (self.top[self.labeled, 0] == labels).double()
        index = (torch.bucketize(confidence, edges, right=True) - 1).clamp(0, bins - 1)
        count = index.bincount(minlength=bins)
        sums = [torch.zeros(bins, dtype=torch.float64).index_add(0, index, numbers) for numbers in (confidence, right)]
        error = float((sums[0] - sums[1]).abs().sum() / max(1, len(labels)))
        return Calibration(edges, count, sums[0] / count, sums[1] / count, error)

    def with_losses(self, names: Sequence[str], pictures: Pictures | None = None) -> Losses:
        """The losses of the labeled samples, with the names of samples and their pictures."""
        with_label = self.labeled
        parts = (part_[with_label] for part_ in (self.losses, self.samples, self.labels, self.top[:, 0]))
        values, samples, labels, predicted = parts
        return Losses(values, samples, labels, predicted, names, self.class_names, pictures)

    def columns(self) -> Columns:
        """The columns of a table of all samples: name, label, predicted class, confidence, loss, five best classes."""
        names, top = self.class_names, listed(self.top)
        return {
            "sample": listed(self.samples),
            "name": [self.names[sample] if self.names else f"#{sample}" for sample in listed(self.samples)],
            "label": [class_name(label, names) for label in listed(self.labels)],
            "predicted": [class_name(row[0], names) for row in top],
            "confidence": listed(self.confidence),
            "loss": listed(self.losses),
            "top5": [[class_name(index, names) for index in row] for row in top],
        }

    def frame(self) -> Any:
        """A DataFrame of pandas with one row for each sample: see `columns`."""
        return frame_of(self.columns())

    def show(self) -> Picture:
        """Draw the matrix of confusion, and how often predictions of a confidence are right.

        Raises:
            NetLensError: No sample has a label.
        """
        from netlens.show import arranged  # matplotlib loads only when something is drawn

        return arranged([self.tiles()])

    def tiles(self) -> list[Any]:
        """The drawings of `show`, with their titles."""
        from netlens.show import Tile, confusion_chart, reliability_chart

        if not self.labeled.any():
            raise NetLensError("no sample has a label, so nothing can be said of right and wrong.")
        names = [str(class_name(index, self.class_names)) for index in range(self.classes)]
        calibration = self.calibration()
        right = f"{self.top1:.1%} of {int(self.labeled.sum()):,} right"
        reliability = reliability_chart(
            calibration.edges, calibration.count, calibration.confidence, calibration.accuracy
        )
        return [
            Tile(confusion_chart(self.confusion, names), "Labels (rows) and predictions", right),
            Tile(reliability, "Confidence and truth", f"expected calibration error {calibration.error:.3f}"),
        ]

    def _repr_jpeg_(self) -> Any:
        return super()._repr_jpeg_() if self.labeled.any() else None

    def _share(self, k: int) -> float:
        labels, top = self.labels[self.labeled], self.top[self.labeled, :k]
        return float((top == labels[:, None]).any(1).double().mean())


@dataclass(frozen=True)
class Predictions(Question):
    """The predicted classes of each sample, and its loss if it has a label."""

    head: str | int | None = option(None, help="The output that holds the scores; none for the usual one.")

    def __post_init__(self) -> None:
        check(self)

    @property
    def layers(self) -> tuple[str, ...]:
        return (part(SCORES, self.head), OUTPUT)

    def update(self, state: State, batch: Batch) -> State:
        flat = batch.record.flat
        scores = batch.record.scores(self.head)
        if scores.ndim != 2:
            raise NotApplicable(
                f"{flat.name} has scores of shape {tuple(scores.shape)}, but Predictions needs one score of each class "
                "per sample; ask TopK or ChannelStatistics of a layer instead."
            )
        log_probabilities = head_of(flat, self.head).log_probabilities(scores.cpu().double())
        classes = scores.shape[1]
        if (wrong := batch.labels >= classes).any():
            sample, label = int(batch.samples[wrong][0]), int(batch.labels[wrong][0])
            raise NetLensError(f"sample {sample} has the label {label}, but {flat.name} has {classes} classes.")
        top = scores.cpu().argsort(dim=1, descending=True, stable=True)[:, :5]
        losses = -log_probabilities.gather(1, batch.labels.clamp(min=0)[:, None])[:, 0]
        batch_state = {
            "samples": batch.samples,
            "labels": batch.labels,
            "top": top,
            "confidence": log_probabilities.gather(1, top[:, :1])[:, 0].exp(),
            "losses": losses.masked_fill(batch.labels < 0, torch.nan),
            "classes": torch.tensor([classes]),
        }
        return self.merge(state, batch_state)

    def merge(self, a: State, b: State) -> State:
        if not (a and b):
            return a or b
        return {name: a[name] if name == "classes" else torch.cat([a[name], b[name]]) for name in b}

    def finish(self, state: State) -> Predicted:
        if not state:
            nothing = torch.zeros(0, dtype=torch.int64)
            return Predicted(nothing, nothing, nothing.view(0, 5), nothing.double(), nothing.double(), 0)
        order = state["samples"].argsort()
        parts: dict[str, Any] = {name: values[order] for name, values in state.items() if name != "classes"}
        return Predicted(**parts, classes=int(state["classes"]))

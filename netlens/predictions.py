"""What a network predicts: scores of classes for each image, from scores of images, of positions or of boxes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netlens.flat import FlatModel
from netlens.flat.heads import head_of
from netlens.objectives import Record


@dataclass(frozen=True)
class Prediction:
    """A class that a network predicts.

    Args:
        index: The index of the class.
        name: The name of the class.
        probability: From 0 to 1, after the softmax, or as the network gives it.
        logit: The score before the softmax.
    """

    index: int
    name: str
    probability: float
    logit: float

    def __str__(self) -> str:
        return f"{self.name} ({self.index})  {self.probability:.3f}"


class Predictions(Sequence[list[Prediction]]):
    """The most probable classes of each image, most probable first. It prints as a table."""

    def __init__(self, rows: Iterable[list[Prediction]]) -> None:
        self._rows = list(rows)

    def __getitem__(self, image: Any) -> Any:
        return self._rows[image]

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        blocks = ["\n".join(f"{p.probability:6.3f}  {p.name} ({p.index})" for p in row) for row in self._rows]
        return blocks[0] if len(blocks) == 1 else "\n".join(f"image {i}\n{b}" for i, b in enumerate(blocks))


@dataclass(frozen=True, eq=False)
class Scores:
    """The output of a network as one score per image and class.

    Args:
        logits: (N, classes), before the softmax; of maps the mean over positions, of boxes the highest.
        probabilities: (N, classes), after the softmax; of maps the mean over positions, of boxes the highest.
        target: (N,), the class to explain if nobody names one.
        predicted: (N, classes), whether the network predicts the class: for the image, a position or a box.
        positions: (N, classes, h, w), whether the class is predicted at each position, if the output is maps.
        boxes: Whether the output is boxes.
    """

    logits: Tensor
    probabilities: Tensor
    target: tuple[int, ...]
    predicted: Tensor
    positions: Tensor | None = None
    boxes: bool = False

    def repeated(self, n: int) -> Scores:
        """The scores of n copies of the image, from these scores of one."""
        parts = (self.logits, self.probabilities, self.predicted, self.positions)
        logits, probabilities, predicted, positions = (
            None if part is None else part.expand(n, *part.shape[1:]) for part in parts
        )
        assert logits is not None and probabilities is not None and predicted is not None
        return Scores(logits, probabilities, self.target * n, predicted, positions, self.boxes)


def scores_of(flat: FlatModel, values: Mapping[str, Any], head: str | None = None) -> Scores:
    """The scores of each image, from the output of the network and the value that its scores are read from, by key.

    The target of an image is the class with the highest score; for maps, the class that most positions have; for boxes,
    the class of the box with the highest score. The background is the target only if nothing else is predicted.

    Args:
        flat: The network.
        values: The output at "output"; the value at `flat.key(part(SCORES, head))`, if it is another one.
        head: The part of the output that holds the scores; None for the one that netlens chooses.

    Raises:
        NotApplicable: The output holds no scores of classes.
    """
    record = Record(flat, values)
    background = flat.adapter.background if head is None else None
    detections = record.detections() if head is None else None
    if detections is not None:
        highest = detections.scores.amax(1)
        predicted = _marked(detections.scores.argmax(2), highest.shape[1])
        return Scores(
            detections.logits.amax(1), highest, _largest(_without(highest, background)), predicted, boxes=True
        )
    scores, probabilities = record.scores(head), record.probabilities(head)
    is_predicted = head_of(flat, head).predicted(scores)
    if scores.ndim == 2:
        is_predicted |= _marked(scores.argmax(1, keepdim=True), scores.shape[1])
        return Scores(scores, probabilities, _largest(scores), is_predicted)
    counts = is_predicted.flatten(2).sum(2)
    return Scores(
        scores.flatten(2).mean(2),
        probabilities.flatten(2).mean(2),
        _largest(_without(counts, background)),
        counts > 0,
        is_predicted if scores.ndim > 3 else None,
    )


def _without(amounts: Tensor, background: int | None) -> Tensor:
    """The amounts (N, classes), without the background in each row where another class has an amount above 0."""
    if background is None:
        return amounts
    others = amounts.clone()
    others[:, background] = 0
    return torch.where((others > 0).any(1, keepdim=True), others, amounts)


def _largest(amounts: Tensor) -> tuple[int, ...]:
    """(N,): the class with the largest amount in each row."""
    return tuple(amounts.argmax(1).tolist())


def _marked(classes: Tensor, count: int) -> Tensor:
    """(N, count): whether each class is in the row of `classes` (N, k)."""
    return torch.zeros(len(classes), count, dtype=torch.bool, device=classes.device).scatter(1, classes, True)

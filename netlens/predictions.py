"""What a network says about images: the classes that it predicts, whether for an image, a region or a box."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netlens.flat import FlatModel
from netlens.flat.adapter import Detections
from netlens.flat.precision import widest
from netlens.objectives.regions import predicted_map


@dataclass(frozen=True)
class Prediction:
    """One class with its probability (after the softmax) and its logit."""

    index: int
    name: str
    probability: float
    logit: float

    def __str__(self) -> str:
        return f"{self.name} ({self.index})  {self.probability:.3f}"


class Predictions(Sequence[list[Prediction]]):
    """The most probable classes of each image, most probable first; prints as a table."""

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
class Reading:
    """An output as scores of classes.

    logits: (N, classes), of maps the mean over positions, of boxes the highest. probabilities: (N, classes), of maps
    the mean over positions, of boxes the highest. target: (N,) the class to explain when nobody names one. predicted:
    (N, classes), whether a class is the prediction for the image, at some position, or for some box. positions: the
    class at each position (N, h, w), where the output is maps. boxes: whether it is boxes.
    """

    logits: Tensor
    probabilities: Tensor
    target: tuple[int, ...]
    predicted: Tensor
    positions: Tensor | None = None
    boxes: bool = False

    def repeated(self, n: int) -> Reading:
        """The same of n copies of the one image that it is of."""
        positions = None if self.positions is None else self.positions.expand(n, -1, -1)
        scores = (value.expand(n, -1) for value in (self.logits, self.probabilities, self.predicted))
        logits, probabilities, predicted = scores
        return Reading(logits, probabilities, self.target * n, predicted, positions, self.boxes)


def read(flat: FlatModel, output: Any) -> Reading:
    """What the network's output (in its own structure) says about each image.

    Of maps the target is the class of the most positions, of boxes that of the highest score; the background only
    where nothing else is predicted.
    """
    background = flat.adapter.background
    if isinstance(output, Detections):
        best = output.scores.amax(1)
        predicted = _marked(output.scores.argmax(2), best.shape[1])
        return Reading(output.logits.amax(1), best, _largest(_without(best, background)), predicted, boxes=True)
    scores = flat.logits(output)
    wide = scores.to(widest(scores.device))
    probabilities = wide.sigmoid() if scores.shape[1] == 1 else wide.softmax(1)
    if scores.ndim == 2:
        return Reading(
            scores, probabilities, _largest(scores), _marked(scores.argmax(1, keepdim=True), scores.shape[1])
        )
    flattened = predicted_map(scores.flatten(2))
    counts = torch.stack([(flattened == c).sum(1) for c in range(scores.shape[1])], 1)
    return Reading(
        scores.flatten(2).mean(2),
        probabilities.flatten(2).mean(2),
        _largest(_without(counts, background)),
        counts > 0,
        predicted_map(scores) if scores.ndim == 4 else None,
    )


def _without(amounts: Tensor, background: int | None) -> Tensor:
    """The amounts (N, classes) with nothing for the background in rows that have another class."""
    if background is None:
        return amounts
    others = amounts.clone()
    others[:, background] = 0
    return torch.where((others > 0).any(1, keepdim=True), others, amounts)


def _largest(amounts: Tensor) -> tuple[int, ...]:
    return tuple(amounts.argmax(1).tolist())


def _marked(classes: Tensor, count: int) -> Tensor:
    """(N, count): whether a class is among each row of (N, k) classes."""
    return torch.zeros(len(classes), count, dtype=torch.bool, device=classes.device).scatter(1, classes, True)

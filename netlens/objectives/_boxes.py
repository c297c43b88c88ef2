"""The score of a class in a box, for networks that detect objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from netlens.errors import NetLensError, NonFiniteError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.adapter import Detections
from netlens.flat.keys import OUTPUT
from netlens.objectives._base import Objective, PerSample, Record
from netlens.objectives.classes import check_known, classes_of, plain, target_of

if TYPE_CHECKING:
    from netlens.objectives.classes import Target

# a candidate counts if its overlap with the box is at least this share of the best overlap
_NEARLY = 0.9


@dataclass(frozen=True, repr=False, eq=False)
class Box(PerSample):
    """The score of a class at one of a detector's candidate boxes; see `box`."""

    target: Target
    box: Any = None
    probability: bool = False
    chosen: Tensor | None = field(
        default=None, kw_only=True
    )  # (N,), the index of the candidate of each sample; None before the objective is settled

    def __post_init__(self) -> None:
        if self.box is None:
            return
        try:
            torch.as_tensor(self.box)
        except (TypeError, ValueError, RuntimeError):
            raise NetLensError(f"box must be (x0, y0, x1, y1) in pixels of the input, not {self.box!r}.") from None

    @property
    def layers(self) -> tuple[str, ...]:
        # the box is in pixels of the input, so the size of the input is needed until a candidate is chosen
        return (OUTPUT,) if self.box is None or self.chosen is not None else (OUTPUT, "input")

    def __call__(self, record: Record) -> Tensor:
        detections = _detections(record)
        n = len(detections.logits)
        classes = self._classes(record.flat, detections)
        chosen = self.chosen if self.chosen is not None else self._choice(record.flat, detections)
        if len(chosen) != n:
            raise NetLensError(
                f"{self} was settled on {len(chosen)} samples, so it cannot be computed for {n} samples."
            )
        values = detections.scores if self.probability else detections.logits
        return values[torch.arange(n), chosen.cpu(), torch.tensor(classes)]

    def take(self, samples: Sequence[int]) -> Objective:
        rows = list(samples)
        is_per_sample = self.box is not None and torch.as_tensor(self.box).ndim == 2
        box = torch.as_tensor(self.box)[rows] if is_per_sample else self.box
        chosen = self.chosen[rows] if self.chosen is not None else None
        return replace(self, target=target_of(self.target, rows), box=box, chosen=chosen)

    def targets(self, flat: FlatModel, n: int) -> tuple[int, ...]:
        return classes_of(self.target, flat, n)

    def settled(self, flat: FlatModel, x: Tensor) -> Objective:
        if self.chosen is not None:
            return self
        # autograd cannot use tensors that are made under inference_mode
        with torch.inference_mode(False), torch.no_grad():
            x = x.clone() if x.is_inference() else x
            detections = _detections(Record(flat, flat.record(x, layers=self.layers)))
            return replace(self, chosen=self._choice(flat, detections))

    def _classes(self, flat: FlatModel, detections: Detections) -> tuple[int, ...]:
        classes = classes_of(self.target, flat, len(detections.logits))
        check_known(classes, flat, detections.logits.shape[2])
        return classes

    def _choice(self, flat: FlatModel, detections: Detections) -> Tensor:
        """(N,): the index of the chosen candidate in each sample."""
        classes = list(self._classes(flat, detections))
        n = len(classes)
        scores = detections.scores.detach()[range(n), :, classes]
        finite = torch.isfinite(scores).all(1)
        if not finite.all():
            raise NonFiniteError(f"the scores of {flat.name} hold NaN or Inf for sample {int((~finite).nonzero()[0])}.")
        if self.box is None:
            return scores.argmax(1)
        boxes = detections.boxes.detach()
        boxes = boxes if boxes.ndim == 3 else boxes[range(n), :, classes]
        overlap = _overlap(_checked(self.box, n).to(boxes), boxes)
        best = overlap.amax(1, keepdim=True)
        if (best == 0).any():
            sample = f" in sample {int((best == 0).nonzero()[0, 0])}" if n > 1 else ""
            raise NotApplicable(
                f"no candidate of {flat.name} overlaps the box of {self}{sample}; "
                "give a box (x0, y0, x1, y1) in pixels of the input."
            )
        return scores.masked_fill(overlap < _NEARLY * best, -torch.inf).argmax(1)

    def __repr__(self) -> str:
        arguments = [repr(plain(self.target))]
        if self.box is not None:
            box = torch.as_tensor(self.box)
            arguments.append(
                f"{len(box)} boxes" if box.ndim == 2 else f"({', '.join(f'{edge:g}' for edge in box.tolist())})"
            )
        return f"box({', '.join(arguments + ['probability=True'] * self.probability)})"


def box(target: Target, box: Any = None, *, probability: bool = False) -> Objective:
    """The score of a class at one of a detector's candidate boxes, before the softmax or sigmoid.

    Args:
        target: A class by index or name, for all samples; or a list or tensor of classes, one per sample.
        box: (x0, y0, x1, y1) in pixels of the input, or (N, 4) with one box per sample. The candidates that count have
            at least 0.9 of the best overlap with the box (intersection over union). The one with the highest score is
            chosen. For a box that the detector reports, this is the reported candidate. If None, the candidate with the
            highest score of the class is chosen.
        probability: Whether to return the score that the detector reports, after the softmax or sigmoid.

    Raises:
        NotApplicable: When the objective is computed: the network is not a detector, or no candidate overlaps the box.

    Example:
        >>> box("dog", (10, 20, 90, 80))
        box('dog', (10, 20, 90, 80))
    """
    return Box(target, box, probability)


def _detections(record: Record) -> Detections:
    """The candidates, in pixels of the input if the record holds the input, else in units of the image."""
    x = record.values.get(record.flat.inputs[0])
    height, width = x.shape[-2:] if isinstance(x, Tensor) else (1, 1)
    detections = record.detections((height, width))
    if detections is None:
        raise NotApplicable(
            f"{record.flat.name} is no detector that netlens supports: its output is "
            f"{type(record.raw(OUTPUT)).__name__}, not Detections(boxes, logits, scores); say how they follow from it: "
            "Adapter(detections=...)."
        )
    return detections


def _checked(box: Any, n: int) -> Tensor:
    """(1 or N, 4): the box or boxes, with x0 < x1 and y0 < y1."""
    boxes = torch.as_tensor(box)
    boxes = boxes[None] if boxes.ndim == 1 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) not in (1, n):
        raise NetLensError(f"a box is (x0, y0, x1, y1), or one for each of {n} sample(s), not {tuple(boxes.shape)}.")
    if not (boxes[:, 2:] > boxes[:, :2]).all():
        raise NetLensError(f"a box is (x0, y0, x1, y1) with x0 < x1 and y0 < y1, not {tuple(boxes[0].tolist())}.")
    return boxes


def _overlap(box: Tensor, boxes: Tensor) -> Tensor:
    """(N, A): the intersection over union of the box (1 or N, 4) with each of the boxes (N, A, 4)."""
    box_ = box[:, None]
    low, high = torch.maximum(box_[..., :2], boxes[..., :2]), torch.minimum(box_[..., 2:], boxes[..., 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    return intersection / (_area(box_) + _area(boxes) - intersection)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)

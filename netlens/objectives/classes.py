"""The score and the probability of a class. A person names a class by its index or its name."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import index as whole_number
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from netlens.errors import ClassNotFound, NetLensError
from netlens.flat import FlatModel
from netlens.flat.adapter import Detections
from netlens.flat.keys import OUTPUT
from netlens.objectives._base import Combination, Objective, PerSample, Record

if TYPE_CHECKING:
    Target = int | str | tuple[int, ...] | Sequence[int | str] | Tensor


@dataclass(frozen=True, repr=False)
class OfClass(PerSample):
    """Abstract: the number of a class in the network's output; for maps of such numbers, the mean over all positions.

    Args:
        target: A class by index or name, for all samples; or a list or tensor of classes, one per sample. A tuple is
            an index into all dimensions of the output except the first, so that it selects one number.
    """

    target: Target

    @property
    def layers(self) -> tuple[str, ...]:
        return (OUTPUT,)

    def __call__(self, record: Record) -> Tensor:
        values = self.scores(record)
        if isinstance(self.target, tuple):
            return self._entry(values, self.target)
        values = values.flatten(2).mean(2) if values.ndim > 2 else values
        classes = classes_of(self.target, record.flat, len(values))
        check_known(classes, record.flat, values.shape[1])
        return values.gather(1, torch.tensor(classes, device=values.device)[:, None])[:, 0]

    @staticmethod
    @abstractmethod
    def scores(record: Record) -> Tensor:
        """(N, classes): the number of each class; or (N, classes, h, w): maps of these numbers."""

    def targets(self, flat: FlatModel, n: int) -> tuple[int, ...]:
        if isinstance(self.target, tuple):
            return (int(self.target[0]),) * n
        return classes_of(self.target, flat, n)

    def take(self, samples: Sequence[int]) -> Objective:
        return replace(self, target=target_of(self.target, samples))

    @staticmethod
    def _entry(values: Tensor, index: tuple[int, ...]) -> Tensor:
        if len(index) != values.ndim - 1 or any(not 0 <= i < n for i, n in zip(index, values.shape[1:], strict=True)):
            raise ClassNotFound(f"there is no output at {index}; the output of a sample is {tuple(values.shape[1:])}.")
        everywhere: list[Any] = [slice(None)]
        return values[tuple(everywhere + list(index))]


class Logit(OfClass):
    """The score of a class before the softmax; see `logit`."""

    @staticmethod
    def scores(record: Record) -> Tensor:
        return record.logits

    def __repr__(self) -> str:
        return f"logit({plain(self.target)!r})"


class LogProbability(OfClass):
    """The logarithm of the probability of a class; see `log_probability`."""

    @staticmethod
    def scores(record: Record) -> Tensor:
        output = record.raw(OUTPUT)
        if isinstance(output, Detections):
            highest = output.scores.amax(1)
            return highest.clamp(min=torch.finfo(highest.dtype).tiny).log()
        scores = record.logits
        return logsigmoid(scores) if scores.shape[1] == 1 else scores.log_softmax(1)

    def __repr__(self) -> str:
        return f"log_probability({plain(self.target)!r})"


def logit(target: Target) -> Objective:
    """The score of a class before the softmax.

    Args:
        target: A class by index or name, for all samples; or a list or tensor of classes, one per sample. A tuple is
            an index into all dimensions of the output except the first, so that it selects one number.

    Raises:
        ClassNotFound: When the objective is computed: the network has no such class.

    Example:
        >>> logit(207) - logit(208)
        logit(207) - logit(208)
    """
    return Logit(target)


def log_probability(target: Target) -> Objective:
    """The logarithm of the probability of a class: log softmax(scores)[target].

    If the network has a single score, the probability is its sigmoid. For a detector, it is the highest score of the
    class over all boxes. If the scores of all classes rise by the same amount, the probability does not change. If the
    network is sure of the class, the gradient is close to 0.

    Args:
        target: The class, as for `logit`.

    Example:
        >>> import torch
        >>> from netlens.objectives import Record
        >>> from netlens.zoo import open_network
        >>> flat, x = open_network(), torch.rand(1, 3, 64, 64)
        >>> value = log_probability(2)(Record(flat, flat.record(x, layers="output")))
        >>> torch.allclose(value, flat(x).log_softmax(1)[:, 2])
        True
    """
    return LogProbability(target)


def is_sum_of_logits(objective: Objective) -> bool:
    """Whether an objective is a weighted sum of the scores of classes, such as `logit(1) - 0.5 * logit(2)`.

    Example:
        >>> is_sum_of_logits(logit(1) - 0.5 * logit(2)), is_sum_of_logits(log_probability(1))
        (True, False)
    """
    terms = [term for _, term in objective.terms] if isinstance(objective, Combination) else [objective]
    return all(isinstance(term, Logit) for term in terms)


def classes_of(target: Target, flat: FlatModel, n: int) -> tuple[int, ...]:
    """The index of the class of each of n samples; `check_known` checks whether the indices are in range."""
    names = plain(target)
    if isinstance(names, str) or not isinstance(names, Sequence):
        return (_class(flat, names),) * n
    classes = tuple(_class(flat, name) for name in names)
    if len(classes) != n:
        raise NetLensError(f"target has {len(classes)} classes for {n} images; give one class, or one for each image.")
    return classes


def check_known(classes: Sequence[int], flat: FlatModel, count: int) -> None:
    """Raise `ClassNotFound` if a class is not among the network's `count` classes."""
    wrong = [c for c in classes if not 0 <= c < count]
    if wrong:
        raise ClassNotFound(f"{flat.name} has no class {wrong[0]}; its {count} classes are 0 to {count - 1}.")


def target_of(target: Target, samples: Sequence[int]) -> Target:
    """The target of a batch that consists of these samples."""
    names = plain(target)
    if isinstance(names, (str, tuple)) or not isinstance(names, Sequence):
        return target
    return [names[sample] for sample in samples]


def plain(target: Any) -> Any:
    """An array, tensor or number of any library as Python's numbers and lists. Other values stay unchanged."""
    return target.tolist() if hasattr(target, "tolist") else target


def _class(flat: FlatModel, target: Any) -> int:
    if not isinstance(target, str):
        try:
            index = None if isinstance(target, bool) else whole_number(target)
        except TypeError:
            index = None
        if index is None:
            raise ClassNotFound(f"target must be the index or the name of a class, not {target!r}.")
        return index
    if flat.classes is None:
        if target.isdecimal():
            return int(target)
        raise ClassNotFound(
            f"{flat.name} has no class names, so it has no class {target!r}; give an index, or classes=..."
        )
    return flat.classes.index(target)

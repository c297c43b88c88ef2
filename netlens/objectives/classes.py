"""The score and the probability of a class. A person names a class by its index or its name."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import index as whole_number
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from netlens.errors import ClassNotFound, NetLensError
from netlens.flat import FlatModel
from netlens.flat.heads import head_of, heads_of
from netlens.flat.keys import ITEM, SCORES, part
from netlens.objectives._base import Combination, Objective, PerSample, Record

if TYPE_CHECKING:
    Target = int | str | tuple[Any, ...] | Sequence[int | str] | Tensor


@dataclass(frozen=True, repr=False)
class OfClass(PerSample):
    """Abstract: the number of a class in the network's output; for maps of such numbers, the mean over all positions.

    Args:
        target: A class by index or name, for all samples; or a list or tensor of classes, one per sample. A tuple is
            an index into all dimensions of the output except the first, so that it selects one number. If the network
            has several outputs, a tuple such as ("age", 3) names one of them, and then the class.
    """

    target: Target

    @property
    def layers(self) -> tuple[str, ...]:
        return (part(SCORES, head_named(self.target)),)

    def __call__(self, record: Record) -> Tensor:
        head, target = in_head(self.target, record.flat)
        if isinstance(target, tuple):
            return self._entry(self.scores(record, head, as_output=True), target)
        values = self.scores(record, head)
        values = values.flatten(2).mean(2) if values.ndim > 2 else values
        classes = classes_of(target, record.flat, len(values))
        check_known(classes, record.flat, values.shape[1])
        return values.gather(1, torch.tensor(classes, device=values.device)[:, None])[:, 0]

    @staticmethod
    @abstractmethod
    def scores(record: Record, head: str | None, as_output: bool = False) -> Tensor:
        """(N, classes): the number of each class; or (N, classes, h, w): maps of these numbers.

        With `as_output`, the dimensions are in the order of the network's output.
        """

    def targets(self, flat: FlatModel, n: int) -> tuple[int, ...]:
        _, target = in_head(self.target, flat)
        if isinstance(target, tuple):
            return (int(target[0]),) * n
        return classes_of(target, flat, n)

    def named_targets(self, flat: FlatModel, n: int) -> tuple[tuple[int, ...] | None, tuple[str, ...] | None]:
        targets, names = super().named_targets(flat, n)
        return targets, names if in_head(self.target, flat)[0] is None else None  # the names are those of another head

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
    def scores(record: Record, head: str | None, as_output: bool = False) -> Tensor:
        return record.raw_scores(head) if as_output else record.scores(head)

    def __repr__(self) -> str:
        return f"logit({plain(self.target)!r})"


class LogProbability(OfClass):
    """The logarithm of the probability of a class; see `log_probability`."""

    @staticmethod
    def scores(record: Record, head: str | None, as_output: bool = False) -> Tensor:
        detections = record.detections() if head is None else None
        if detections is not None:
            highest = detections.scores.amax(1)
            return highest.clamp(min=torch.finfo(highest.dtype).tiny).log()
        chosen = head_of(record.flat, head)
        if not as_output:
            return chosen.log_probabilities(record.scores(head))
        scores = record.raw_scores(head)
        axis = chosen.class_axis(scores)
        return chosen.log_probabilities(scores.movedim(axis, 1)).movedim(1, axis)

    def __repr__(self) -> str:
        return f"log_probability({plain(self.target)!r})"


class Probability(LogProbability):
    """The probability of a class; see `probability`."""

    @staticmethod
    def scores(record: Record, head: str | None, as_output: bool = False) -> Tensor:
        return LogProbability.scores(record, head, as_output).exp()

    def __repr__(self) -> str:
        return f"probability({plain(self.target)!r})"


def logit(target: Target) -> Objective:
    """The score of a class before the softmax.

    Args:
        target: A class by index or name, for all samples; or a list or tensor of classes, one per sample. A tuple is
            an index into all dimensions of the output except the first, so that it selects one number. If the network
            has several outputs, a tuple such as ("age", 3) names one of them, and then the class.

    Raises:
        ClassNotFound: When the objective is computed: the network has no such class.

    Example:
        >>> logit(207) - logit(208)
        logit(207) - logit(208)
    """
    return Logit(target)


def log_probability(target: Target) -> Objective:
    """The logarithm of the probability of a class: log softmax(scores)[target].

    If the network has a single score, or ends in a sigmoid, the probability is the sigmoid of the score. For a
    detector, it is the highest score of the class over all boxes. If the scores of all classes rise by the same amount,
    the probability of a softmax does not change. If the network is sure of the class, the gradient is close to 0.

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


def probability(target: Target) -> Objective:
    """The probability of a class, from 0 to 1: the exponential of `log_probability`.

    If the network is sure of the class, the gradient is close to 0, so explain `logit` or `log_probability`, and read
    the probability of the result.

    Args:
        target: The class, as for `logit`.

    Example:
        >>> import torch
        >>> from netlens.objectives import Record
        >>> from netlens.zoo import open_network
        >>> flat, x = open_network(), torch.rand(1, 3, 64, 64)
        >>> value = probability(2)(Record(flat, flat.record(x, layers="output")))
        >>> torch.allclose(value, flat(x).softmax(1)[:, 2])
        True
    """
    return Probability(target)


def is_sum_of_logits(objective: Objective) -> bool:
    """Whether an objective is a weighted sum of the scores of classes, such as `logit(1) - 0.5 * logit(2)`.

    Example:
        >>> is_sum_of_logits(logit(1) - 0.5 * logit(2)), is_sum_of_logits(log_probability(1))
        (True, False)
    """
    terms = [term for _, term in objective.terms] if isinstance(objective, Combination) else [objective]
    return all(isinstance(term, Logit) for term in terms)


def head_named(target: Target) -> str | None:
    """The head that a target names, for `part`; None if the target is a class alone."""
    if not isinstance(target, tuple) or not target:
        return None
    if isinstance(target[0], str):
        return target[0]
    return f"{ITEM}{target[0]}" if len(target) == 2 else None


def in_head(target: Target, flat: FlatModel) -> tuple[str | None, Target]:
    """The head that a target names (None for the one that holds the scores of classes), and the class in that head."""
    name = head_named(target)
    if name is None or not isinstance(target, tuple) or (name.startswith(ITEM) and not heads_of(flat).are_items):
        return None, target
    if len(target) < 2:
        raise ClassNotFound(f"target {target!r} names an output, but no class; give ({target[0]!r}, class).")
    return name.removeprefix(ITEM), target[1] if len(target) == 2 else target[1:]


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
    if isinstance(names, tuple) and len(names) == 2 and isinstance(plain(names[1]), list):
        return (names[0], target_of(names[1], samples))
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

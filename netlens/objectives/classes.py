"""Classes as a person gives them, and the score and probability of a class."""

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
from netlens.flat.adapter import Detections
from netlens.flat.model import OUTPUT, FlatModel
from netlens.objectives.base import Objective, PerSample, Record

if TYPE_CHECKING:
    Target = int | str | tuple[int, ...] | Sequence[int | str] | Tensor


@dataclass(frozen=True, repr=False)
class OfClass(PerSample):
    """Abstract: a number that the output has for each class. One class for all samples, or one for each.

    target: an index, a class name, or a list or tensor of them, one per sample; a tuple is an index into each
    dimension of the output after the first. Of maps, the mean over positions is taken.
    """

    target: Target

    @property
    def layers(self) -> tuple[str, ...]:
        return (OUTPUT,)

    def __call__(self, record: Record) -> Tensor:
        values = self.read(record)
        if isinstance(self.target, tuple):
            return self._at(values, self.target)
        values = values.flatten(2).mean(2) if values.ndim > 2 else values
        classes = classes_of(self.target, record.flat, len(values))
        check_known(classes, record.flat, values.shape[1])
        return values.gather(1, torch.tensor(classes, device=values.device)[:, None])[:, 0]

    @staticmethod
    @abstractmethod
    def read(record: Record) -> Tensor:
        """The numbers of all classes (N, classes), or maps of them (N, classes, h, w)."""

    def targets(self, flat: FlatModel, n: int) -> tuple[int, ...]:
        if isinstance(self.target, tuple):
            return (int(self.target[0]),) * n
        return classes_of(self.target, flat, n)

    def take(self, samples: Sequence[int]) -> Objective:
        return replace(self, target=target_of(self.target, samples))

    @staticmethod
    def _at(values: Tensor, index: tuple[int, ...]) -> Tensor:
        if len(index) != values.ndim - 1 or any(not 0 <= i < n for i, n in zip(index, values.shape[1:], strict=True)):
            raise ClassNotFound(f"there is no output at {index}; the output of a sample is {tuple(values.shape[1:])}.")
        everywhere: list[Any] = [slice(None)]
        return values[tuple(everywhere + list(index))]


class Logit(OfClass):
    """The score of a class before the softmax."""

    @staticmethod
    def read(record: Record) -> Tensor:
        return record.logits

    def __repr__(self) -> str:
        return f"logit({plain(self.target)!r})"


class LogProbability(OfClass):
    """The logarithm of what the softmax gives a class, or of a single score the sigmoid; of boxes the highest."""

    @staticmethod
    def read(record: Record) -> Tensor:
        output = record.raw(OUTPUT)
        if isinstance(output, Detections):
            found = output.scores.amax(1)
            return found.clamp(min=torch.finfo(found.dtype).tiny).log()
        scores = record.logits
        return logsigmoid(scores) if scores.shape[1] == 1 else scores.log_softmax(1)

    def __repr__(self) -> str:
        return f"log_probability({plain(self.target)!r})"


def logit(target: Target) -> Objective:
    """The score of a class before the softmax, by index or name; a list or tensor gives one class per sample."""
    return Logit(target)


def log_probability(target: Target) -> Objective:
    """The logarithm of a class's probability, targets as of `logit`.

    What raises every class alike does not raise it: that a picture is of this class rather than another counts. It
    has no slope where the network is sure of the class.

    >>> import torch
    >>> from netlens.objectives import Record
    >>> from netlens.zoo import open_network
    >>> flat, x = open_network(), torch.rand(1, 3, 64, 64)
    >>> found = log_probability(2)(Record(flat, flat.record(x, layers="output")))
    >>> torch.allclose(found, flat(x).log_softmax(1)[:, 2])
    True
    """
    return LogProbability(target)


def classes_of(target: Target, flat: FlatModel, n: int) -> tuple[int, ...]:
    """The class of each of n samples, by index, whichever way it was given; not yet known to be in range."""
    given = plain(target)
    if isinstance(given, str) or not isinstance(given, Sequence):
        return (_class(flat, given),) * n
    classes = tuple(_class(flat, one) for one in given)
    if len(classes) != n:
        raise NetLensError(f"{len(classes)} targets were given for {n} images; give one, or one for each.")
    return classes


def check_known(classes: Sequence[int], flat: FlatModel, count: int) -> None:
    """Raise if one of these is not among the network's `count` classes."""
    wrong = [c for c in classes if not 0 <= c < count]
    if wrong:
        raise ClassNotFound(f"{flat.name} has no class {wrong[0]}; its {count} classes are 0 to {count - 1}.")


def target_of(target: Target, samples: Sequence[int]) -> Target:
    """The target of a batch made of these samples, where each has its own."""
    given = plain(target)
    if isinstance(given, (str, tuple)) or not isinstance(given, Sequence):
        return target
    return [given[sample] for sample in samples]


def plain(target: Any) -> Any:
    """A target in Python's own types, whichever library's number, array or tensor it is."""
    return target.tolist() if hasattr(target, "tolist") else target


def _class(flat: FlatModel, target: Any) -> int:
    if not isinstance(target, str):
        try:
            return whole_number(target)
        except TypeError:
            raise ClassNotFound(f"a class is given by its index or name, not by {target!r}.") from None
    if flat.classes is None:
        if target.isdecimal():
            return int(target)
        raise ClassNotFound(f"{flat.name} has no class names, so {target!r} is unknown; give an index, or classes=...")
    return flat.classes.index(target)

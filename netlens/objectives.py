"""Objectives: what a person wants to know, as one number per sample of a record of activations.

To explain, differentiate or perturb an objective; to visualise, maximise it; to mine a dataset, sort by it.

>>> logit(207) - 0.5 * logit(3)
logit(207) - 0.5 * logit(3)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from operator import index as whole_number
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from netlens.errors import ClassNotFound, NetLensError, NotApplicable
from netlens.flat.adapter import grid_of
from netlens.flat.model import OUTPUT, FlatModel

if TYPE_CHECKING:
    Target = int | str | tuple[int, ...] | Sequence[int | str] | Tensor


@dataclass(frozen=True)
class Record:
    """The activations of one run by key, and the flat model that gave them."""

    flat: FlatModel
    values: Mapping[str, Any]

    def __getitem__(self, layer: str) -> Tensor:
        return self.values[layer if layer in self.values else self.flat.key(layer)]

    @property
    def logits(self) -> Tensor:
        """Class scores (N, classes), or maps of them (N, classes, h, w)."""
        return self.flat.logits(self.values[OUTPUT])

    def maps(self, layer: str) -> Tensor:
        """An activation as maps (N, C, h, w); a vector of features is a map of one position."""
        value = self[layer]
        return value[:, :, None, None] if value.ndim == 2 else grid_of(self.flat, self.flat.key(layer), value)


class Objective(ABC):
    """Abstract: a record of activations to one number per sample. Objectives add, subtract and scale."""

    @property
    @abstractmethod
    def layers(self) -> tuple[str, ...]:
        """The layers that it reads, by any name; "output" is the network's output."""

    @abstractmethod
    def __call__(self, record: Record) -> Tensor:
        """(N,): the objective of each sample."""

    def take(self, samples: Sequence[int]) -> Objective:
        """The objective of a batch made of these samples of the original one, in this order."""
        return self

    def targets(self, flat: FlatModel, n: int) -> tuple[int, ...] | None:
        """The class that it is about, for each of n samples; None where it is about no class, or several."""
        return None

    def __add__(self, other: Objective) -> Objective:
        return Combination((*_terms(self), *_terms(other))) if isinstance(other, Objective) else NotImplemented

    def __sub__(self, other: Objective) -> Objective:
        return self + -other if isinstance(other, Objective) else NotImplemented

    def __neg__(self) -> Objective:
        return self * -1

    def __radd__(self, other: object) -> Objective:
        # so that the built-in sum(), which starts from 0, adds objectives
        return self if isinstance(other, Real) and other == 0 else NotImplemented

    def __truediv__(self, divisor: float) -> Objective:
        return self * (1 / divisor) if isinstance(divisor, Real) else NotImplemented

    def __mul__(self, factor: float) -> Objective:
        if isinstance(factor, Objective):
            raise TypeError("objectives add and scale, but two of them do not multiply; scale by a number instead.")
        if not isinstance(factor, Real):
            return NotImplemented
        return Combination(tuple((float(factor) * weight, term) for weight, term in _terms(self)))

    __rmul__ = __mul__


def _terms(objective: Objective) -> tuple[tuple[float, Objective], ...]:
    return objective.terms if isinstance(objective, Combination) else ((1.0, objective),)


@dataclass(frozen=True, repr=False)
class Combination(Objective):
    """A weighted sum of objectives, made by `+`, `-` and `*`."""

    terms: tuple[tuple[float, Objective], ...]

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(layer for _, term in self.terms for layer in term.layers))

    def __call__(self, record: Record) -> Tensor:
        return torch.stack([weight * term(record) for weight, term in self.terms]).sum(0)

    def take(self, samples: Sequence[int]) -> Objective:
        return Combination(tuple((weight, term.take(samples)) for weight, term in self.terms))

    def __repr__(self) -> str:
        text = ""
        for weight, term in self.terms:
            sign = " - " if weight < 0 else " + "
            factor = "" if abs(weight) == 1 else f"{abs(weight):g} * "
            text += (sign if text else sign.strip(" +")) + factor + repr(term)
        return text


@dataclass(frozen=True, repr=False)
class Logit(Objective):
    """The score of a class before the softmax: the same for all samples, or one class per sample.

    target: an index, a class name, or a list or tensor of them, one per sample; a tuple is an index into each
    dimension of the output after the first. Where the network gives maps of scores, their mean is taken.
    """

    target: Target

    @property
    def layers(self) -> tuple[str, ...]:
        return (OUTPUT,)

    def __call__(self, record: Record) -> Tensor:
        logits = record.logits
        if isinstance(self.target, tuple):
            return self._at(logits, self.target)
        scores = logits.flatten(2).mean(2) if logits.ndim > 2 else logits
        classes = self.targets(record.flat, len(scores))
        wrong = [c for c in classes if not 0 <= c < scores.shape[1]]
        if wrong:
            raise ClassNotFound(
                f"{record.flat.name} has no class {wrong[0]}; its {scores.shape[1]} classes are "
                f"0 to {scores.shape[1] - 1}."
            )
        return scores.gather(1, torch.tensor(classes, device=scores.device)[:, None])[:, 0]

    def targets(self, flat: FlatModel, n: int) -> tuple[int, ...]:
        if isinstance(self.target, tuple):
            return (int(self.target[0]),) * n
        given = self._plain
        if isinstance(given, str) or not isinstance(given, Sequence):
            return (_class(flat, given),) * n
        classes = tuple(_class(flat, one) for one in given)
        if len(classes) != n:
            raise NetLensError(f"{len(classes)} targets were given for {n} images; give one, or one for each.")
        return classes

    @property
    def _plain(self) -> Any:
        """The target in Python's own types, whichever library's number, array or tensor it is."""
        return self.target.tolist() if hasattr(self.target, "tolist") else self.target

    def take(self, samples: Sequence[int]) -> Objective:
        target = self._plain
        if isinstance(target, (str, tuple)) or not isinstance(target, Sequence):
            return self
        return replace(self, target=[target[sample] for sample in samples])

    @staticmethod
    def _at(logits: Tensor, index: tuple[int, ...]) -> Tensor:
        if len(index) != logits.ndim - 1 or any(not 0 <= i < n for i, n in zip(index, logits.shape[1:], strict=True)):
            raise ClassNotFound(f"there is no output at {index}; the output of a sample is {tuple(logits.shape[1:])}.")
        everywhere: list[Any] = [slice(None)]
        return logits[tuple(everywhere + list(index))]

    def __repr__(self) -> str:
        return f"logit({self._plain!r})"


@dataclass(frozen=True, repr=False)
class LayerObjective(Objective):
    """One number per sample from the activation of one layer; made by the functions below."""

    layer: str
    function: Callable[[Record], Tensor]
    name: str

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def __call__(self, record: Record) -> Tensor:
        return self.function(record)

    def __repr__(self) -> str:
        return self.name


def logit(target: Target) -> Objective:
    """The score of a class before the softmax, by index or name; a list or tensor gives one class per sample."""
    return Logit(target)


def layer(key: str) -> Objective:
    """The mean square of a layer's activation: what DeepDream maximises."""
    return LayerObjective(key, lambda record: record[key].flatten(1).square().mean(1), f"layer({key!r})")


def channel(key: str, index: int) -> Objective:
    """The mean of one channel over all positions."""

    def value(record: Record) -> Tensor:
        return _channel(record, key, index).flatten(1).mean(1)

    return LayerObjective(key, value, f"channel({key!r}, {index})")


def neuron(key: str, index: int, y: int | None = None, x: int | None = None) -> Objective:
    """One channel at one position of the map; by default the one in the middle."""

    def value(record: Record) -> Tensor:
        maps = _channel(record, key, index)
        height, width = maps.shape[1:]
        row, column = height // 2 if y is None else y, width // 2 if x is None else x
        if not (0 <= row < height and 0 <= column < width):
            raise NetLensError(f"there is no position ({row}, {column}); the map of {key!r} is {height} by {width}.")
        return maps[:, row, column]

    return LayerObjective(key, value, f"neuron({key!r}, {index}, {y}, {x})")


def direction(key: str, vector: Tensor) -> Objective:
    """The dot product of `vector`, one number per channel, with the activation, averaged over positions."""

    def value(record: Record) -> Tensor:
        maps = record.maps(key)
        if vector.shape != (maps.shape[1],):
            raise NetLensError(f"the direction has shape {tuple(vector.shape)}; {key!r} needs ({maps.shape[1]},).")
        return (maps * vector.to(maps)[:, None, None]).sum(1).flatten(1).mean(1)

    return LayerObjective(key, value, f"direction({key!r})")


def output(function: Callable[[Any], Tensor], name: str | None = None) -> Objective:
    """Any function of the network's output (in its own structure) that gives one number per sample."""

    def value(record: Record) -> Tensor:
        result = function(record.values[OUTPUT])
        if not isinstance(result, Tensor) or result.ndim != 1:
            got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise NotApplicable(f"the function of the output must give one number per sample (N,), not {got}.")
        return result

    return LayerObjective(OUTPUT, value, name if name is not None else getattr(function, "__name__", "output"))


def _channel(record: Record, key: str, index: int) -> Tensor:
    maps = record.maps(key)
    if not 0 <= index < maps.shape[1]:
        raise NetLensError(f"layer {key!r} has no channel {index}; its channels are 0 to {maps.shape[1] - 1}.")
    return maps[:, index]


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

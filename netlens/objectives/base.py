"""The record of a run, what an objective is, and how objectives add and scale."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from netlens.flat.grid import grid_of
from netlens.flat.model import OUTPUT, FlatModel


@dataclass(frozen=True)
class Record:
    """The activations of one run by key, and the flat model that gave them."""

    flat: FlatModel
    values: Mapping[str, Any]

    def __getitem__(self, layer: str) -> Tensor:
        return self.values[self._key(layer)]

    @property
    def logits(self) -> Tensor:
        """Class scores (N, classes), or maps of them (N, classes, h, w)."""
        return self.flat.logits(self.values[OUTPUT])

    def maps(self, layer: str) -> Tensor:
        """An activation as maps (N, C, h, w); a vector of features is a map of one position."""
        value = self[layer]
        two = isinstance(value, Tensor) and value.ndim == 2
        return value[:, :, None, None] if two else grid_of(self.flat, self._key(layer), value)

    def _key(self, layer: str) -> str:
        return layer if layer in self.values else self.flat.key(layer)


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

    @property
    def splits(self) -> bool:
        """Whether each sample's number is its own alone, so that a batch may be run in parts: what `take` gives."""
        return type(self).take is not Objective.take

    def settled(self, flat: FlatModel, x: Tensor) -> Objective:
        """The objective with all that depends on where x shows something decided on x (N, ...), once and for all.

        What is explained is then one function of the image, which stays the same when the image is perturbed.
        """
        return self.prepared(flat, x)

    def prepared(self, flat: FlatModel, x: Tensor) -> Objective:
        """The objective with what depends on the sizes of x (N, ...) alone, not on what it shows, worked out once."""
        return self

    def targets(self, flat: FlatModel, n: int) -> tuple[int, ...] | None:
        """The class that it is about, for each of n samples; None where it is about no class, or several."""
        return None

    def named_targets(self, flat: FlatModel, n: int) -> tuple[tuple[int, ...] | None, tuple[str, ...] | None]:
        """Its `targets`, and what the network calls them, where it has names for classes."""
        targets = self.targets(flat, n)
        if targets is None or flat.classes is None or max(targets, default=0) >= len(flat.classes):
            return targets, None
        return targets, tuple(flat.classes[target] for target in targets)

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

    @property
    def splits(self) -> bool:
        return all(term.splits for _, term in self.terms)

    def targets(self, flat: FlatModel, n: int) -> tuple[int, ...] | None:
        """The class that all terms that are about one raise."""
        about = {(targets, weight > 0) for weight, term in self.terms if (targets := term.targets(flat, n)) is not None}
        targets, raised = about.pop() if len(about) == 1 else (None, False)
        return targets if raised else None

    def settled(self, flat: FlatModel, x: Tensor) -> Objective:
        return self._with([term.settled(flat, x) for _, term in self.terms])

    def prepared(self, flat: FlatModel, x: Tensor) -> Objective:
        return self._with([term.prepared(flat, x) for _, term in self.terms])

    def _with(self, terms: Sequence[Objective]) -> Combination:
        if all(new is old for new, (_, old) in zip(terms, self.terms, strict=True)):
            return self  # runs are shared by the identity of the objective
        return Combination(tuple((weight, new) for (weight, _), new in zip(self.terms, terms, strict=True)))

    def __repr__(self) -> str:
        text = ""
        for weight, term in self.terms:
            sign = " - " if weight < 0 else " + "
            factor = "" if abs(weight) == 1 else f"{abs(weight):g} * "
            text += (sign if text else sign.strip(" +")) + factor + repr(term)
        return text

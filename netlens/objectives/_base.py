"""Records of a run, objectives, and sums of objectives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.adapter import Detections
from netlens.flat.grid import grid_of
from netlens.flat.heads import head_of
from netlens.flat.keys import OUTPUT
from netlens.flat.reading import detections_from, scores_in
from netlens.objectives.parts import Part, Place


@dataclass(frozen=True)
class Record:
    """The activations of one run by key, and the flat model that ran.

    Args:
        flat: The network.
        values: The output of each recorded layer, by key; see `FlatModel.record`.

    Example:
        >>> from netlens.zoo import open_network
        >>> flat = open_network()
        >>> record = Record(flat, flat.record(torch.zeros(2, 3, 64, 64), layers=["stem", "output"]))
        >>> record["stem"].shape, record.logits.shape
        (torch.Size([2, 24, 32, 32]), torch.Size([2, 15]))
    """

    flat: FlatModel
    values: Mapping[str, Any]

    def __getitem__(self, layer: str) -> Tensor:
        """The activation of a layer, by any name of the layer.

        Raises:
            LayerNotFound: No layer has this name.
            NotApplicable: The output of the layer is not a tensor. `raw` returns it.
        """
        value = self.raw(layer)
        if not isinstance(value, Tensor):
            raise NotApplicable(
                f"layer {layer!r} of {self.flat.name} returns a {type(value).__name__}, not a tensor; "
                "choose a layer that returns a tensor, or read record.raw(layer)."
            )
        return value

    def raw(self, layer: str) -> Any:
        """The output of a layer, in its own structure: a tensor, a tuple, a dict, `Detections`, ..."""
        return self.values[self._key(layer)]

    @property
    def logits(self) -> Tensor:
        """(N, classes): the class scores; or (N, classes, h, w): maps of class scores."""
        return self.scores()

    def scores(self, head: str | int | None = None) -> Tensor:
        """(N, classes): the class scores of a head of the network; or (N, classes, h, w): maps of class scores.

        Args:
            head: The name of the head in the output; None for the one that holds the scores of classes.

        Raises:
            NotApplicable: The head holds no scores of classes. The message names the objective to use.
        """
        return head_of(self.flat, head).by_class(self.raw_scores(head), self.flat.name)

    def raw_scores(self, head: str | int | None = None) -> Tensor:
        """The scores of a head before its last activation, with the dimensions in the order of the output."""
        return scores_in(self.flat, self.values, head)

    def probabilities(self, head: str | int | None = None) -> Tensor:
        """(N, classes) or (N, classes, h, w): the probabilities of a head, as the network gives them if it does.

        The record needs the output of the network.
        """
        chosen = head_of(self.flat, head)
        output = None if chosen.activation is None else chosen.of(self.values[OUTPUT])
        return chosen.probabilities(self.scores(head), output)

    def detections(self, size: tuple[int, int] = (1, 1)) -> Detections | None:
        """The candidate boxes of a detector, in pixels of an input of a height and width; None for other networks."""
        return detections_from(self.flat, self.values[OUTPUT], size) if OUTPUT in self.values else None

    def maps(self, layer: str) -> Tensor:
        """The activation of a layer as maps (N, C, h, w). A vector of features (N, C) becomes maps of one position.

        Raises:
            NotApplicable: The activation has no layout over the image, such as windows of attention.
        """
        value = self.raw(layer)
        is_vector = isinstance(value, Tensor) and value.ndim == 2
        return value[:, :, None, None] if is_vector else grid_of(self.flat, self._key(layer), value)

    def _key(self, layer: str) -> str:
        return layer if layer in self.values else self.flat.key(layer)


class Objective(ABC):
    """Abstract: a function from a record of activations to one number per sample.

    Objectives can be added, subtracted, and multiplied or divided by a number. A subclass defines `layers` and
    `__call__`. Of the rest, it defines what differs from the default:

    | name                | says                                                             | default             |
    |---------------------|------------------------------------------------------------------|---------------------|
    | `layers`            | the layers that the objective reads                              | none                |
    | `__call__(record)`  | the number of each sample                                        | none                |
    | `splits`            | whether a batch can run in parts; extend `PerSample` to say so   | `False`             |
    | `take(samples)`     | the objective for some of the samples                            | itself              |
    | `settled(flat, x)`  | the objective after all choices that depend on the content of x  | `prepared(flat, x)` |
    | `prepared(flat, x)` | the objective after all that depends on the shape of x alone     | itself              |
    | `parts(record, at)` | what a tile of a picture adds, for pictures in tiles             | refuses             |
    | `joined(totals)`    | the number of each sample, from the totals of all tiles          | refuses             |
    | `targets(flat, n)`  | the class that the objective asks about, for each sample         | `None`              |

    Attribution calls `settled` once, and the objective is then a fixed function of the image. A renderer changes the
    image, so it calls `prepared` only.
    """

    @property
    @abstractmethod
    def layers(self) -> tuple[str, ...]:
        """The layers that the objective reads, by any name; "output" is the network's output."""

    @abstractmethod
    def __call__(self, record: Record) -> Tensor:
        """(N,): the number of each sample."""

    @property
    def splits(self) -> bool:
        """Whether the number of each sample depends on that sample alone, so that a batch can run in chunks.

        By default False: the objective is computed on whole batches only. `PerSample` returns True.
        """
        return False

    def take(self, samples: Sequence[int]) -> Objective:
        """The objective for a smaller batch that consists of these samples of the original batch, in this order."""
        return self

    def settled(self, flat: FlatModel, x: Tensor) -> Objective:
        """The objective after all choices that depend on the content of `x` (N, ...).

        A choice is, for example, the region in which the network predicts a class, or the box of a detected object.
        The result is a fixed function of the image: it does not choose again for a perturbed image.
        """
        return self.prepared(flat, x)

    def prepared(self, flat: FlatModel, x: Tensor) -> Objective:
        """The objective after all computations that depend on the shape of `x` (N, ...), but not on its content."""
        return self

    def targets(self, flat: FlatModel, n: int) -> tuple[int, ...] | None:
        """The class of the objective for each of n samples. None if the objective has no class, or several classes."""
        return None

    def parts(self, record: Record, at: Mapping[str, Place]) -> tuple[Part, ...]:
        """What a tile of a picture adds to the totals from which the objective follows.

        Args:
            record: The activations of the tile.
            at: For each name in `layers`, the positions that the tile stands for.

        Raises:
            NotApplicable: The objective does not follow from totals.
        """
        raise NotApplicable(f"{self} does not follow from sums over tiles; give tile=None.")

    def joined(self, totals: Sequence[Tensor]) -> Tensor:
        """(N,): the number of each sample, from the totals of its `parts` over all tiles."""
        raise NotApplicable(f"{self} does not follow from sums over tiles; give tile=None.")

    @property
    def n_parts(self) -> int:
        """The number of `parts`."""
        return 1

    def named_targets(self, flat: FlatModel, n: int) -> tuple[tuple[int, ...] | None, tuple[str, ...] | None]:
        """The `targets` and the names of these classes. The names are None if the network has no class names."""
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
        # the built-in sum() starts with 0 + objective
        return self if isinstance(other, Real) and other == 0 else NotImplemented

    def __truediv__(self, divisor: float) -> Objective:
        if not isinstance(divisor, Real):
            return NotImplemented
        factor: float = 1 / divisor
        return self * factor

    def __mul__(self, factor: float) -> Objective:
        if isinstance(factor, Objective):
            raise TypeError("two objectives cannot be multiplied; multiply an objective by a number.")
        if not isinstance(factor, Real):
            return NotImplemented
        return Combination(tuple((float(factor) * weight, term) for weight, term in _terms(self)))

    __rmul__ = __mul__


class PerSample(Objective):
    """Abstract: an objective whose number for a sample depends on that sample alone, so that a batch can run in chunks.

    A subclass defines `take`, the objective for some of the samples. If all samples have the same options, it returns
    the objective itself; otherwise a copy with the options of these samples.
    """

    @property
    def splits(self) -> bool:
        return True

    @abstractmethod
    def take(self, samples: Sequence[int]) -> Objective: ...


def _terms(objective: Objective) -> tuple[tuple[float, Objective], ...]:
    return objective.terms if isinstance(objective, Combination) else ((1.0, objective),)


@dataclass(frozen=True, repr=False)
class Combination(Objective):
    """A weighted sum of objectives: the result of `+`, `-`, `*` and `/`."""

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
        """The classes of the terms that have classes. These terms must have the same classes and positive weights."""
        by_term = [(term.targets(flat, n), weight > 0) for weight, term in self.terms]
        candidates = {(targets, is_positive) for targets, is_positive in by_term if targets is not None}
        targets, is_positive = candidates.pop() if len(candidates) == 1 else (None, False)
        return targets if is_positive else None

    def settled(self, flat: FlatModel, x: Tensor) -> Objective:
        return self._with([term.settled(flat, x) for _, term in self.terms])

    def prepared(self, flat: FlatModel, x: Tensor) -> Objective:
        return self._with([term.prepared(flat, x) for _, term in self.terms])

    def parts(self, record: Record, at: Mapping[str, Place]) -> tuple[Part, ...]:
        return tuple(part for _, term in self.terms for part in term.parts(record, at))

    def joined(self, totals: Sequence[Tensor]) -> Tensor:
        values, rest = [], list(totals)
        for weight, term in self.terms:
            values.append(weight * term.joined(rest[: term.n_parts]))
            del rest[: term.n_parts]
        return torch.stack(values).sum(0)

    @property
    def n_parts(self) -> int:
        return sum(term.n_parts for _, term in self.terms)

    def _with(self, terms: Sequence[Objective]) -> Combination:
        if all(new is old for new, (_, old) in zip(terms, self.terms, strict=True)):
            return self  # two methods share a run only if their objectives are the same object
        return Combination(tuple((weight, new) for (weight, _), new in zip(self.terms, terms, strict=True)))

    def __repr__(self) -> str:
        text = ""
        for weight, term in self.terms:
            sign = " - " if weight < 0 else " + "
            factor = "" if abs(weight) == 1 else f"{abs(weight):g} * "
            text += (sign if text else sign.strip(" +")) + factor + repr(term)
        return text

"""Objectives of a whole batch: they compare its samples. Each sample gets a part of the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives._base import Objective, Record
from netlens.options import checked

# the largest distance in the batch over which two samples are compared
_REACH = 4


@dataclass(frozen=True, repr=False)
class Diversity(Objective):
    """The similarity of each sample to the other samples of the batch; see `diversity`."""

    layer: str

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def __call__(self, record: Record) -> Tensor:
        features = record.maps(self.layer).flatten(2)
        grams = F.normalize((features @ features.transpose(1, 2)).flatten(1), dim=1)
        n = len(grams)
        itself = torch.eye(n, dtype=torch.bool, device=grams.device)
        return (grams @ grams.T).masked_fill(itself, 0).sum(1) / max(n - 1, 1)

    def __repr__(self) -> str:
        return f"diversity({self.layer!r})"


@dataclass(frozen=True, repr=False)
class Alignment(Objective):
    """The difference of each sample from its neighbors in the batch; see `alignment`."""

    layer: str
    decay: float = 2

    def __post_init__(self) -> None:
        checked("decay", self.decay, float, above=0)

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def __call__(self, record: Record) -> Tensor:
        activation = record[self.layer].flatten(1)
        n = len(activation)
        shares = activation[:, :0].sum(1)  # zeros (N,)
        for distance in range(1, min(_REACH, n - 1) + 1):
            # each of two samples gets half of the difference between them
            half = (activation[distance:] - activation[:-distance]).square().mean(1) / (2 * self.decay**distance)
            shares = shares + F.pad(half, (distance, 0)) + F.pad(half, (0, distance))
        return shares

    def __repr__(self) -> str:
        return f"alignment({self.layer!r}, {self.decay:g})"


@dataclass(frozen=True, repr=False, eq=False)
class Interpolation(Objective):
    """One objective for the first sample, another for the last, and mixtures in between; see `interpolation`."""

    first: Objective
    last: Objective
    shares: Tensor | None = field(default=None, kw_only=True)  # (N,), the share of `last`; None before it is prepared

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.first.layers, *self.last.layers)))

    def __call__(self, record: Record) -> Tensor:
        first, last = self.first(record), self.last(record)
        shares = _steps(len(first)) if self.shares is None else self.shares
        if len(shares) != len(first):
            raise NetLensError(
                f"{self} was settled on {len(shares)} samples, so it cannot be computed for {len(first)} samples."
            )
        return torch.lerp(first, last, shares.to(first))

    def settled(self, flat: FlatModel, x: Tensor) -> Objective:
        return self._with_ends(self.first.settled(flat, x), self.last.settled(flat, x), len(x))

    def prepared(self, flat: FlatModel, x: Tensor) -> Objective:
        return self._with_ends(self.first.prepared(flat, x), self.last.prepared(flat, x), len(x))

    def _with_ends(self, first: Objective, last: Objective, n: int) -> Interpolation:
        if self.shares is None:
            return Interpolation(first, last, shares=_steps(n))
        return self if first is self.first and last is self.last else replace(self, first=first, last=last)

    @property
    def splits(self) -> bool:
        return self.shares is not None and self.first.splits and self.last.splits

    def take(self, samples: Sequence[int]) -> Objective:
        if self.shares is None:
            raise NetLensError(
                f"{self} depends on the size of the batch; settle it on the whole batch before you take samples."
            )
        first, last = self.first.take(samples), self.last.take(samples)
        return replace(self, first=first, last=last, shares=self.shares[list(samples)])

    def __repr__(self) -> str:
        return f"interpolation({self.first!r}, {self.last!r})"


def diversity(layer: str) -> Objective:
    """The similarity of a sample to the other samples of the batch. It is a penalty: subtract it for diverse samples.

    It is the mean of cos(G_i, G_j) over the other samples j, from -1 to 1. G is the Gram matrix of the channels (C, C),
    as a vector. It describes textures without their positions. For a batch of one sample, the similarity is 0.

    Args:
        layer: The layer, by key, path, glob or index.

    Example:
        >>> from netlens.objectives import channel
        >>> channel("layer3", 12) - 0.5 * diversity("layer3")
        channel('layer3', 12) - 0.5 * diversity('layer3')

    Olah et al. 2017, https://distill.pub/2017/feature-visualization/
    """
    return Diversity(layer)


def interpolation(first: Objective, last: Objective) -> Objective:
    """A mixture of two objectives that changes along the batch: (1 − t) · first + t · last, with t = i / (N − 1).

    Args:
        first: The objective of the first sample, i = 0.
        last: The objective of the last sample, i = N − 1.

    Example:
        >>> from netlens.objectives import channel
        >>> interpolation(channel("layer3", 12), channel("layer3", 40))
        interpolation(channel('layer3', 12), channel('layer3', 40))

    Olah et al. 2017, https://distill.pub/2017/feature-visualization/
    """
    return Interpolation(first, last)


def alignment(layer: str, decay: float = 2) -> Objective:
    """The difference of a sample from its neighbors in the batch. It is a penalty: subtract it to align the pictures.

    It is the sum of mean((a_i − a_j)²) / (2 · decay^|i − j|) over the samples j with 1 ≤ |i − j| ≤ 4.

    Args:
        layer: The layer, by key, path, glob or index.
        decay: The factor by which the weight decreases from one neighbor to the next, above 0.

    Raises:
        NetLensError: `decay` is not above 0.

    Example:
        >>> alignment("layer3")
        alignment('layer3', 2)

    Mordvintsev et al. 2018, https://distill.pub/2018/differentiable-parameterizations/
    """
    return Alignment(layer, decay)


def _steps(n: int) -> Tensor:
    """(n,): from 0 to 1 in equal steps."""
    return torch.linspace(0, 1, n, dtype=torch.float64)

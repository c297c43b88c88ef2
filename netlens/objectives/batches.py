"""Objectives over a batch as a whole: what one sample owes to the others. Each sample gets its share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NetLensError
from netlens.flat.model import FlatModel
from netlens.objectives.base import Objective, Record

# the farthest neighbors in the batch that a sample is compared with
_REACH = 4


@dataclass(frozen=True, repr=False)
class Diversity(Objective):
    """How like the other samples of the batch each sample is; see `diversity`."""

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
    """How unlike its neighbors in the batch each sample is; see `alignment`."""

    layer: str
    decay: float = 2

    def __post_init__(self) -> None:
        if not self.decay > 0:
            raise NetLensError(f"decay is {self.decay}; it must be above 0.")

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def __call__(self, record: Record) -> Tensor:
        activation = record[self.layer].flatten(1)
        n = len(activation)
        shares = activation[:, :0].sum(1)  # 0 for each
        for far in range(1, min(_REACH, n - 1) + 1):
            # each of the two gets half of what lies between them
            half = (activation[far:] - activation[:-far]).square().mean(1) / (2 * self.decay**far)
            shares = shares + F.pad(half, (far, 0)) + F.pad(half, (0, far))
        return shares

    def __repr__(self) -> str:
        return f"alignment({self.layer!r}, {self.decay:g})"


@dataclass(frozen=True, repr=False, eq=False)
class Interpolation(Objective):
    """One objective at the first sample, another at the last, and mixtures between; see `interpolation`."""

    first: Objective
    last: Objective
    shares: Tensor | None = field(default=None, kw_only=True)  # (N,) of the last, once the batch is known

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.first.layers, *self.last.layers)))

    def __call__(self, record: Record) -> Tensor:
        first, last = self.first(record), self.last(record)
        shares = _steps(len(first)) if self.shares is None else self.shares
        if len(shares) != len(first):
            raise NetLensError(f"{self} was settled on {len(shares)} samples and cannot be read from {len(first)}.")
        return torch.lerp(first, last, shares.to(first))

    def settled(self, flat: FlatModel, x: Tensor) -> Objective:
        return self._between(self.first.settled(flat, x), self.last.settled(flat, x), len(x))

    def prepared(self, flat: FlatModel, x: Tensor) -> Objective:
        return self._between(self.first.prepared(flat, x), self.last.prepared(flat, x), len(x))

    def _between(self, first: Objective, last: Objective, n: int) -> Interpolation:
        if self.shares is None:
            return Interpolation(first, last, shares=_steps(n))
        return self if first is self.first and last is self.last else replace(self, first=first, last=last)

    @property
    def splits(self) -> bool:
        return self.shares is not None and self.first.splits and self.last.splits

    def take(self, samples: Sequence[int]) -> Objective:
        if self.shares is None:
            raise NetLensError(f"{self} depends on the size of the batch; settle it on the whole batch first.")
        first, last = self.first.take(samples), self.last.take(samples)
        return replace(self, first=first, last=last, shares=self.shares[list(samples)])

    def __repr__(self) -> str:
        return f"interpolation({self.first!r}, {self.last!r})"


def diversity(layer: str) -> Objective:
    """How like the others of the batch a sample is at a layer: subtract it, and they move apart.

    The mean cosine similarity, from -1 to 1, of the sample's Gram matrix of channels (C, C) to that of each other
    sample, which compares textures whatever their place. 0 for a batch of one.

    Olah et al. 2017, https://distill.pub/2017/feature-visualization/

    >>> from netlens.objectives import channel
    >>> channel("layer3", 12) - 0.5 * diversity("layer3")
    channel('layer3', 12) - 0.5 * diversity('layer3')
    """
    return Diversity(layer)


def interpolation(first: Objective, last: Objective) -> Objective:
    """From one objective to another along the batch: sample i of N has (1 - t) of the first and t = i / (N - 1).

    Olah et al. 2017, https://distill.pub/2017/feature-visualization/
    """
    return Interpolation(first, last)


def alignment(layer: str, decay: float = 2) -> Objective:
    """How unlike its neighbors in the batch a sample is at a layer: subtract it, and a row of pictures stays aligned.

    The mean square difference to the samples up to 4 places away, each divided by decay^distance; the two samples of
    a pair get half each.

    Mordvintsev et al. 2018, https://distill.pub/2018/differentiable-parameterizations/
    """
    return Alignment(layer, decay)


def _steps(n: int) -> Tensor:
    return torch.linspace(0, 1, n, dtype=torch.float64)

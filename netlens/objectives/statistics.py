"""Statistics of a layer's features that know no place: what style is, and how far two of them are apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NetLensError, NotApplicable
from netlens.objectives.transport import sorted_values, transport


class Statistic(ABC):
    """Abstract: what is kept of features at all positions, and the distance between two such.

    Frozen dataclasses of options. Features are (N, C, P), and weights None or those of the P positions. The numbers of
    positions may differ between the two pictures that are compared.
    """

    @abstractmethod
    def of(self, features: Tensor, weights: Tensor | None) -> Tensor:
        """(N, ...): the statistic of each sample."""

    @abstractmethod
    def distance(self, mine: Tensor, theirs: Tensor) -> Tensor:
        """(N,): from the statistic of each sample to that of the style, (1, ...) or (N, ...); 0 where they agree."""


@dataclass(frozen=True)
class Gram(Statistic):
    """Which channels are active together: F Fᵀ / (C·H·W), compared by the sum of squares.

    With weights, each position counts by its weight, and H·W is their sum.

    Gatys et al. 2016, https://arxiv.org/abs/1508.06576
    """

    def of(self, features: Tensor, weights: Tensor | None) -> Tensor:
        share = _shares(features, weights)
        return (features * share) @ features.transpose(1, 2) / features.shape[1]

    def distance(self, mine: Tensor, theirs: Tensor) -> Tensor:
        return (mine - theirs).square().sum((1, 2))


@dataclass(frozen=True)
class MeanStd(Statistic):
    """Mean and standard deviation of each channel, compared by squares, averaged over channels.

    Li et al. 2017, https://arxiv.org/abs/1701.01036
    """

    def of(self, features: Tensor, weights: Tensor | None) -> Tensor:
        share = _shares(features, weights)
        mean = (features * share).sum(2)
        # as a norm, it has a gradient of 0 where a channel is constant; a square root of a variance has none
        std = torch.linalg.vector_norm((features - mean[:, :, None]) * share.sqrt(), dim=2)
        return torch.stack([mean, std], 1)

    def distance(self, mine: Tensor, theirs: Tensor) -> Tensor:
        return (mine - theirs).square().sum(1).mean(1)


@dataclass(frozen=True)
class SlicedWasserstein(Statistic):
    """All of the distribution of features: their projections on random directions, in order.

    The squared Wasserstein distance, exact for any two numbers of positions, averaged over directions of length 1. It
    is 0 only for the same features in whatever order (given as many directions as that takes to tell).

    n_projections: how many; None: as many as channels. seed: of the directions.

    Heitz et al. 2021, https://arxiv.org/abs/2006.07229
    """

    n_projections: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_projections is not None and self.n_projections < 1:
            raise NetLensError(f"n_projections is {self.n_projections}; there must be at least 1.")

    def of(self, features: Tensor, weights: Tensor | None) -> Tensor:
        return sorted_values(self._directions(features) @ features, weights)

    def distance(self, mine: Tensor, theirs: Tensor) -> Tensor:
        return transport(mine, theirs)

    def _directions(self, features: Tensor) -> Tensor:
        """(K, C), the same on every device."""
        channels = features.shape[1]
        count = channels if self.n_projections is None else self.n_projections
        generator = torch.Generator().manual_seed(self.seed)
        return F.normalize(torch.randn(count, channels, generator=generator, dtype=torch.float64), dim=1).to(features)


@dataclass(frozen=True)
class Histogram(Statistic):
    """The distribution of each channel by itself, compared as by matching histograms, without bins.

    The mean square by which values must move to be distributed as those of the style.

    Risser et al. 2017, https://arxiv.org/abs/1701.08893
    """

    def of(self, features: Tensor, weights: Tensor | None) -> Tensor:
        return sorted_values(features, weights)

    def distance(self, mine: Tensor, theirs: Tensor) -> Tensor:
        return transport(mine, theirs)


@dataclass(frozen=True)
class Contextual(Statistic):
    """Whether each feature of the style has one that is like it and like no other: -log CX, with CX in (0, 1].

    bandwidth: h of the paper, the lower the stricter. points: how many positions of each picture are compared with each
    other, drawn by the seed; memory grows with its square. With weights, positions are drawn in proportion to them.

    Mechrez et al. 2018, https://arxiv.org/abs/1803.02077
    """

    bandwidth: float = 0.5
    points: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.bandwidth > 0:
            raise NetLensError(f"bandwidth is {self.bandwidth}; it must be above 0.")
        if self.points < 2:
            raise NetLensError(f"points is {self.points}; there must be at least 2.")

    def of(self, features: Tensor, weights: Tensor | None) -> Tensor:
        positions = features.shape[2]
        if positions < 2:
            raise NotApplicable("a contextual distance needs features at several positions; choose a layer with maps.")
        if weights is None and positions <= self.points:
            return features
        weights = torch.ones(positions) if weights is None else weights.cpu()
        count = min(self.points, int((weights > 0).sum()))
        drawn = torch.multinomial(weights.double(), count, generator=torch.Generator().manual_seed(self.seed))
        return features[:, :, drawn.sort().values.to(features.device)]

    def distance(self, mine: Tensor, theirs: Tensor) -> Tensor:
        center = theirs.mean(2, keepdim=True)
        mine, theirs = F.normalize(mine - center, dim=1), F.normalize(theirs - center, dim=1)
        apart = 1 - mine.transpose(1, 2) @ theirs  # (N, P, Q)
        relative = apart / (apart.amin(2, keepdim=True) + 1e-5)
        similar = ((1 - relative) / self.bandwidth).softmax(2)
        return -similar.amax(1).mean(1).log()


def _shares(features: Tensor, weights: Tensor | None) -> Tensor:
    """(P,): what each position counts for; sums to 1."""
    if weights is None:
        return features.new_full(features.shape[2:], 1 / features.shape[2])
    return weights / weights.sum()

"""Statistics of a layer's features over all positions, which describe styles, and distances between two statistics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NotApplicable
from netlens.objectives._transport import sorted_values, transport
from netlens.options import check, option


class Statistic(ABC):
    """Abstract: a statistic of features over all positions, and the distance between two statistics.

    A subclass is a frozen dataclass whose fields are its options. Two pictures may have different numbers of positions.
    """

    @abstractmethod
    def of(self, features: Tensor, weights: Tensor | None) -> Tensor:
        """(N, ...): the statistic of features (N, C, P). `weights` (P,) belong to positions; None: equal weights."""

    @abstractmethod
    def distance(self, statistic: Tensor, style_statistic: Tensor) -> Tensor:
        """(N,): the distance of each sample's statistic from the statistic of the style, (1, ...) or (N, ...)."""


@dataclass(frozen=True)
class Gram(Statistic):
    """The products of channels F Fᵀ / (C·H·W); the distance is the sum of squared differences.

    With weights, each position is multiplied by its weight, and H·W is the sum of the weights.

    Example:
        >>> Gram().of(torch.ones(1, 2, 4), None)
        tensor([[[0.5000, 0.5000],
                 [0.5000, 0.5000]]])

    Gatys et al. 2016, https://arxiv.org/abs/1508.06576
    """

    def of(self, features: Tensor, weights: Tensor | None) -> Tensor:
        share = _shares(features, weights)
        return (features * share) @ features.transpose(1, 2) / features.shape[1]

    def distance(self, statistic: Tensor, style_statistic: Tensor) -> Tensor:
        return (statistic - style_statistic).square().sum((1, 2))


@dataclass(frozen=True)
class MeanStd(Statistic):
    """The mean and the standard deviation of each channel; the distance is the mean of squared differences.

    Li et al. 2017, https://arxiv.org/abs/1701.01036
    """

    def of(self, features: Tensor, weights: Tensor | None) -> Tensor:
        share = _shares(features, weights)
        mean = (features * share).sum(2)
        # where a channel is constant, vector_norm has the gradient 0; the root of the variance has an infinite one
        std = torch.linalg.vector_norm((features - mean[:, :, None]) * share.sqrt(), dim=2)
        return torch.stack([mean, std], 1)

    def distance(self, statistic: Tensor, style_statistic: Tensor) -> Tensor:
        return (statistic - style_statistic).square().sum(1).mean(1)


@dataclass(frozen=True)
class SlicedWasserstein(Statistic):
    """The distribution of features: sorted projections on random directions of length 1.

    The distance is the squared 2-Wasserstein distance, averaged over the directions. It is exact, even if the pictures
    have different numbers of positions. With enough directions, it is 0 only for the same features, in any order.

    Heitz et al. 2021, https://arxiv.org/abs/2006.07229
    """

    n_projections: int | None = option(None, least=1, help="The number of directions; none for the number of channels.")
    seed: int = option(0, least=0, help="Seed of the directions.")

    def __post_init__(self) -> None:
        check(self)

    def of(self, features: Tensor, weights: Tensor | None) -> Tensor:
        return sorted_values(self._directions(features) @ features, weights)

    def distance(self, statistic: Tensor, style_statistic: Tensor) -> Tensor:
        return transport(statistic, style_statistic)

    def _directions(self, features: Tensor) -> Tensor:
        """(K, C): the directions, the same on every device."""
        channels = features.shape[1]
        count = channels if self.n_projections is None else self.n_projections
        generator = torch.Generator().manual_seed(self.seed)
        return F.normalize(torch.randn(count, channels, generator=generator, dtype=torch.float64), dim=1).to(features)


@dataclass(frozen=True)
class Histogram(Statistic):
    """The distribution of each channel: sorted values, which are histograms without bins.

    The distance is the mean squared change of the values that gives them the distribution of the style.

    Risser et al. 2017, https://arxiv.org/abs/1701.08893
    """

    def of(self, features: Tensor, weights: Tensor | None) -> Tensor:
        return sorted_values(features, weights)

    def distance(self, statistic: Tensor, style_statistic: Tensor) -> Tensor:
        return transport(statistic, style_statistic)


@dataclass(frozen=True)
class Contextual(Statistic):
    """The features at random positions; the distance is -log CX, with the contextual similarity CX in (0, 1].

    CX is high if each feature of the style has a feature of the picture that is similar to it and to no other.

    With weights, the probability of a position is proportional to its weight.

    Mechrez et al. 2018, https://arxiv.org/abs/1803.02077
    """

    bandwidth: float = option(0.5, above=0, help="The paper's h. A lower bandwidth asks for a closer match.")
    points: int = option(1024, least=2, help="Positions of each picture. Memory grows with the square of their number.")
    seed: int = option(0, least=0, help="Seed of the positions.")

    def __post_init__(self) -> None:
        check(self)

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

    def distance(self, statistic: Tensor, style_statistic: Tensor) -> Tensor:
        center = style_statistic.mean(2, keepdim=True)
        statistic, style_statistic = (
            F.normalize(statistic - center, dim=1),
            F.normalize(style_statistic - center, dim=1),
        )
        distances = 1 - statistic.transpose(1, 2) @ style_statistic  # (N, P, Q)
        relative = distances / (distances.amin(2, keepdim=True) + 1e-5)
        similarities = ((1 - relative) / self.bandwidth).softmax(2)
        return -similarities.amax(1).mean(1).log()


def _shares(features: Tensor, weights: Tensor | None) -> Tensor:
    """(P,): the share of each position; the shares sum to 1."""
    if weights is None:
        return features.new_full(features.shape[2:], 1 / features.shape[2])
    return weights / weights.sum()

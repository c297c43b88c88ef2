"""Statistics of a layer's features over all positions, which describe styles, and distances between two statistics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NotApplicable
from netlens.objectives._transport import sorted_values, transport
from netlens.objectives.parts import Part
from netlens.options import check, option
from netlens.precision import widest


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

    def part(self, features: Tensor, weights: Tensor | None, at: Tensor, positions: int) -> Part:
        """What a tile of a picture adds to the total from which `joined` computes the statistic.

        By default it adds its features, so the whole map is kept. A statistic that is a sum keeps the sum alone.

        Args:
            features: (N, C, p), those of the tile.
            weights: (P,), the weights of all positions of the picture; None: equal weights.
            at: (p,), the positions of the tile in the picture.
            positions: P, the number of positions of the picture.
        """
        if weights is not None:
            features = torch.cat([features, weights[at].expand(len(features), 1, -1)], 1)
        return Part(features, at, positions)

    def joined(self, total: Tensor, weighted: bool) -> Tensor:
        """(N, ...): the statistic, from the total of all parts. `weighted` says whether they had weights."""
        return self.of(total[:, :-1], total[0, -1]) if weighted else self.of(total, None)


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

    def part(self, features: Tensor, weights: Tensor | None, at: Tensor, positions: int) -> Part:
        share = _share_at(features, weights, at, positions)
        return Part((features * share) @ features.transpose(1, 2) / features.shape[1])

    def joined(self, total: Tensor, weighted: bool) -> Tensor:
        return total

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

    def part(self, features: Tensor, weights: Tensor | None, at: Tensor, positions: int) -> Part:
        share = _share_at(features, weights, at, positions)
        wide = features.to(widest(features.device))  # of sums of squares, a variance keeps half of the digits
        return Part(torch.stack([(wide * share).sum(2), (wide.square() * share).sum(2)], 1))

    def joined(self, total: Tensor, weighted: bool) -> Tensor:
        mean, square = total.unbind(1)
        variance = square - mean.square()
        varies = variance > 16 * torch.finfo(total.dtype).eps * square  # else it is rounding, and its root has no slope
        std = torch.where(varies, torch.where(varies, variance, 1).sqrt(), 0)
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
        return features[:, :, self._drawn(weights, positions).to(features.device)]

    def part(self, features: Tensor, weights: Tensor | None, at: Tensor, positions: int) -> Part:
        if weights is None and positions <= self.points:
            return Part(features, at, positions)
        drawn = self._drawn(weights, positions).to(at.device)
        here = torch.isin(drawn, at)
        # the positions of a tile ascend
        return Part(features[:, :, torch.searchsorted(at, drawn[here])], here.nonzero()[:, 0], len(drawn))

    def joined(self, total: Tensor, weighted: bool) -> Tensor:
        if total.shape[2] < 2:
            raise NotApplicable("a contextual distance needs features at several positions; choose a layer with maps.")
        return total

    def _drawn(self, weights: Tensor | None, positions: int) -> Tensor:
        """The positions, in ascending order."""
        if weights is None:
            return _evenly_drawn(positions, self.points, self.seed)
        count = min(self.points, int((weights > 0).sum()))
        generator = torch.Generator().manual_seed(self.seed)
        return torch.multinomial(weights.cpu().double(), count, generator=generator).sort().values

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


def _share_at(features: Tensor, weights: Tensor | None, at: Tensor, positions: int) -> Tensor:
    """(p,): the share of each position of a tile; the shares of all tiles sum to 1."""
    return features.new_full(at.shape, 1 / positions) if weights is None else weights[at] / weights.sum()


def _shares(features: Tensor, weights: Tensor | None) -> Tensor:
    """(P,): the share of each position; the shares sum to 1."""
    if weights is None:
        return features.new_full(features.shape[2:], 1 / features.shape[2])
    return weights / weights.sum()


@lru_cache(maxsize=16)
def _evenly_drawn(positions: int, count: int, seed: int) -> Tensor:
    """`count` of the positions, in ascending order. Each tile of a picture asks for them again."""
    with torch.inference_mode(False):
        generator = torch.Generator().manual_seed(seed)
        return torch.multinomial(torch.ones(positions).double(), count, generator=generator).sort().values

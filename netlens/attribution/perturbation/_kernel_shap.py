"""KernelSHAP: Shapley values as the solution of a weighted linear regression."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import comb

import numpy as np
import torch
from torch import Tensor

from netlens.attribution.method import register
from netlens.attribution.perturbation._coalitions import Coalitions
from netlens.attribution.perturbation._features import OverFeatures, draws_of
from netlens.attribution.perturbation._surrogate import Moments
from netlens.options import option


@register
@dataclass(frozen=True, eq=False)
class KernelShap(OverFeatures):
    """The Shapley value of each feature, estimated by a weighted linear regression over coalitions.

    `values` are the coefficients of the linear model of f that is exact at f(x) and f(baseline), the same for all
    entries of a feature. They have the shape of `wrt` and the unit of the objective f. The values of the features sum
    to f(x) - f(baseline) exactly. `feature_mask`, `n_segments` and `baselines` say what the features are; see
    `OverFeatures`.

    A coalition of s of k features has the weight (k - 1) / (C(k, s) s (k - s)). Each coalition comes with its
    complement, at most `n_samples` in all. The smallest and largest sizes are complete as far as `n_samples` allows,
    and the other coalitions are drawn by their weight. If `n_samples` is at least 2^k - 2, every coalition is tried,
    and the values are the Shapley values. If it is much less than k, what remains undetermined is shared equally.

    Lundberg and Lee 2017, https://arxiv.org/abs/1705.07874; pairs: Covert and Lee 2021,
    https://arxiv.org/abs/2012.01536
    """

    n_samples: int = option(1000, least=2, help="Coalitions at most, each with its complement.")
    seed: int = option(0, least=0, help="Seed of the random numbers.")

    def scores(self, game: Coalitions) -> tuple[list[Tensor], dict[str, Tensor]]:
        empty, full = game.uniform(on=False), game.uniform(on=True)
        plans = {count: Plan.of(count, self.n_samples, self.seed) for count in set(game.counts)}
        moments = [Moments(count) for count in game.counts]
        sizes = [plans[count].total for count in game.counts]
        for sample, index, on, value in game.play(sizes, lambda count, index: plans[count].coalition(index)):
            moments[sample].add(on, value - empty[sample], plans[game.counts[sample]].weight(index))
        gains = [after - before for before, after in zip(empty, full, strict=True)]
        return [regression.constrained(gain) for regression, gain in zip(moments, gains, strict=True)], {}


@dataclass(frozen=True)
class Stratum:
    """All pairs of a coalition of `size` out of `count` features and its complement."""

    count: int
    size: int

    @property
    def pairs(self) -> int:
        return comb(self.count, self.size) // (2 if 2 * self.size == self.count else 1)

    @property
    def coalitions(self) -> int:
        return 2 * self.pairs

    @property
    def mass(self) -> Fraction:
        """The sum of the kernel's weights over all coalitions of the stratum."""
        weight = Fraction(self.count - 1, comb(self.count, self.size) * self.size * (self.count - self.size))
        return self.coalitions * weight


@dataclass(frozen=True)
class Plan:
    """The coalitions of `count` features that are tried, by index. A coalition and its complement are neighbors."""

    count: int
    whole: tuple[Stratum, ...]
    drawn: tuple[Stratum, ...]
    draws: int  # the number of coalitions that are drawn from the strata in `drawn`
    seed: int

    @classmethod
    def of(cls, count: int, n_samples: int, seed: int) -> Plan:
        strata = [Stratum(count, size) for size in range(1, count // 2 + 1)]
        left, mass = n_samples, sum((stratum.mass for stratum in strata), Fraction(0))
        whole = 0
        # a stratum is tried as a whole if random draws would be expected to hit it at least as often as it has members
        while whole < len(strata) and strata[whole].coalitions * mass <= left * strata[whole].mass:
            left -= strata[whole].coalitions
            mass -= strata[whole].mass
            whole += 1
        drawn = tuple(strata[whole:])
        return cls(count, tuple(strata[:whole]), drawn, left if drawn else 0, seed)

    @property
    def total(self) -> int:
        return sum(stratum.coalitions for stratum in self.whole) + self.draws

    @cached_property
    def masses(self) -> np.ndarray:
        return np.array([float(stratum.mass) for stratum in self.drawn])

    def coalition(self, index: int) -> Tensor:
        """The coalition (count,) at this index."""
        pair, complement = divmod(index, 2)
        stratum, rank = self._stratum(pair)
        on = torch.zeros(self.count, dtype=torch.bool)
        members = self._draw(rank) if stratum is None else list(subset(self.count, stratum.size, rank))
        on[members] = True
        return ~on if complement else on

    def weight(self, index: int) -> float:
        """The weight of a coalition by the kernel. Drawn coalitions share the weight of their strata equally."""
        stratum, _ = self._stratum(index // 2)
        if stratum is None:
            return float(self.masses.sum()) / self.draws
        return float(stratum.mass / stratum.coalitions)

    def _stratum(self, pair: int) -> tuple[Stratum | None, int]:
        """The stratum of a pair if the stratum is tried as a whole, else None; and the index of the pair within it."""
        for stratum in self.whole:
            if pair < stratum.pairs:
                return stratum, pair
            pair -= stratum.pairs
        return None, pair

    def _draw(self, number: int) -> list[int]:
        rng = draws_of(self.seed, number)
        size = rng.choice([stratum.size for stratum in self.drawn], p=self.masses / self.masses.sum())
        drawn: list[int] = rng.permutation(self.count)[:size].tolist()
        return drawn


def subset(count: int, size: int, rank: int) -> Iterator[int]:
    """The subset of `size` out of `count` items at this rank in lexical order.

    >>> [tuple(subset(4, 2, rank)) for rank in range(6)]
    [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    """
    for item in range(count):
        with_item = comb(count - item - 1, size - 1) if size else 0
        if rank < with_item:
            yield item
            size -= 1
        else:
            rank -= with_item

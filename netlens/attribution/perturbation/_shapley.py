"""Shapley values from random orders in which features join."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution.method import register
from netlens.attribution.perturbation._coalitions import Coalitions
from netlens.attribution.perturbation._features import OverFeatures, draws_of
from netlens.options import option


@register
@dataclass(frozen=True, eq=False)
class ShapleyValueSampling(OverFeatures):
    """The Shapley value of each feature: what it adds to the objective when it joins others, over random orders.

    `values` are the mean over orders of f(earlier features and this one) - f(earlier features), the same for all
    entries of a feature. They have the shape of `wrt` and the unit of the objective f. The values of the features sum
    to f(x) - f(baseline) exactly. `feature_mask`, `n_segments` and `baselines` say what the features are; see
    `OverFeatures`.

    Each of the `n_samples` orders takes one run less than there are features. With `antithetic`, every second order
    is the reverse of the one before it. This lowers the error at no cost (Mitchell et al. 2021,
    https://arxiv.org/abs/2104.12199).

    Castro et al. 2009, https://doi.org/10.1016/j.cor.2008.04.004
    """

    n_samples: int = option(25, least=1, help="Random orders of the features.")
    seed: int = option(0, least=0, help="Seed of the random numbers.")
    antithetic: bool = option(True, help="Whether every second order is the reverse of the one before it.")

    def scores(self, game: Coalitions) -> tuple[list[Tensor], dict[str, Tensor]]:
        empty, full = game.uniform(on=False), game.uniform(on=True)
        totals = [torch.zeros(count, dtype=torch.float64) for count in game.counts]
        for sample, index, _, value in game.play([self.n_samples * (count - 1) for count in game.counts], self._first):
            order, joined = self._place(game.counts[sample], index)
            # the gain of a feature is f after it joins less f before: this value adds to the gain of the last feature,
            # and is subtracted from the gain of the next feature
            totals[sample][order[joined]] += value - empty[sample]
            totals[sample][order[joined + 1]] -= value - empty[sample]
        for sample, count in enumerate(game.counts):
            for number in range(self.n_samples):
                totals[sample][self._order(count, number)[-1]] += full[sample] - empty[sample]
        return [total / self.n_samples for total in totals], {}

    def _first(self, count: int, index: int) -> Tensor:
        """The coalition of the run with this index, as a mask (count,): the features that come first in its order."""
        order, joined = self._place(count, index)
        return torch.zeros(count, dtype=torch.bool).index_fill(0, order[: joined + 1], True)

    def _place(self, count: int, index: int) -> tuple[Tensor, int]:
        """The order of the run with this index, and the index in the order of the feature that joined last."""
        number, joined = divmod(index, count - 1)
        return self._order(count, number), joined

    def _order(self, count: int, number: int) -> Tensor:
        drawn, reverse = divmod(number, 2) if self.antithetic else (number, 0)
        order = torch.from_numpy(draws_of(self.seed, drawn).permutation(count))
        return order.flip(0) if reverse else order

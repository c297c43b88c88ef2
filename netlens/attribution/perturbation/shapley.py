"""Shapley values, by sampling the orders in which features join."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution.method import register
from netlens.attribution.perturbation.coalitions import Coalitions
from netlens.attribution.perturbation.features import OverFeatures, stream
from netlens.options import option


@register
@dataclass(frozen=True, eq=False)
class ShapleyValueSampling(OverFeatures):
    """The mean, over random orders, of what each feature adds to f when it joins those before it.

    The values of the features sum to f(x) - f(baseline) exactly, in every one of the `n_samples` orders, each of
    which takes as many runs as there are features, less one. `antithetic`: every second order is the one before it
    reversed, which lowers the error at no cost (Mitchell et al. 2021, https://arxiv.org/abs/2104.12199). What the
    features are is said by `feature_mask`, `n_segments` and `baselines`: see `OverFeatures`.

    Castro et al. 2009, https://doi.org/10.1016/j.cor.2008.04.004
    """

    n_samples: int = option(25, least=1, help="Random orders of the features.")
    seed: int = option(0, least=0, help="Seed of the random numbers.")
    antithetic: bool = option(True, help="Whether every second order is the one before it, reversed.")

    def scores(self, game: Coalitions) -> tuple[list[Tensor], dict[str, Tensor]]:
        empty, full = game.uniform(on=False), game.uniform(on=True)
        totals = [torch.zeros(count, dtype=torch.float64) for count in game.counts]
        for sample, index, _, value in game.play([self.n_samples * (count - 1) for count in game.counts], self._first):
            order, joined = self._place(game.counts[sample], index)
            # the gain up to here ends with the feature that joined last, and the next one's starts from it
            totals[sample][order[joined]] += value - empty[sample]
            totals[sample][order[joined + 1]] -= value - empty[sample]
        for sample, count in enumerate(game.counts):
            for number in range(self.n_samples):
                totals[sample][self._order(count, number)[-1]] += full[sample] - empty[sample]
        return [total / self.n_samples for total in totals], {}

    def _first(self, count: int, index: int) -> Tensor:
        """The coalition of those that have joined."""
        order, joined = self._place(count, index)
        return torch.zeros(count, dtype=torch.bool).index_fill(0, order[: joined + 1], True)

    def _place(self, count: int, index: int) -> tuple[Tensor, int]:
        """An order, and the place of the last feature that has joined; the last place of all is f(x) itself."""
        number, joined = divmod(index, count - 1)
        return self._order(count, number), joined

    def _order(self, count: int, number: int) -> Tensor:
        drawn, reverse = divmod(number, 2) if self.antithetic else (number, 0)
        order = torch.from_numpy(stream(self.seed, drawn).permutation(count))
        return order.flip(0) if reverse else order

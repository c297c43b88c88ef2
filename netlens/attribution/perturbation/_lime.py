"""LIME: the linear model nearest to f around x."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from netlens.attribution.method import register
from netlens.attribution.perturbation._coalitions import Coalitions
from netlens.attribution.perturbation._features import OverFeatures, draws_of
from netlens.attribution.perturbation._surrogate import Moments
from netlens.options import option

Distance = Literal["cosine", "euclidean"]
Regression = Literal["ridge", "lasso"]


@register
@dataclass(frozen=True, eq=False)
class Lime(OverFeatures):
    """The coefficients of the linear model that fits the objective best near the input.

    `values` are the coefficient of each feature, the same for all its entries. They have the shape of `wrt` and the
    unit of the objective f. `feature_mask`, `n_segments` and `baselines` say what the features are; see `OverFeatures`.

    The first of the `n_samples` trials is x itself. In the others, each feature is off with probability 1/2. A trial
    has the weight exp(-d² / (2 kernel_width²)), where d is its distance from x: with "cosine" 1 - √(the share of
    features that are on), with "euclidean" √(the share that are off). The fit has an intercept and a penalty. "ridge"
    minimizes Σ weight · error² + alpha · ‖coefficients‖². "lasso" (by scikit-learn) minimizes the weighted mean of
    error² / 2 + alpha · Σ |coefficients|. An alpha of None means 1 for the ridge and 0.01 for the lasso. With an alpha
    of 0 and enough trials, the model equals a linear f exactly.

    The diagnostic `r2` (N,) is the share of the weighted variance of f that the linear model explains.

    Ribeiro et al. 2016, https://arxiv.org/abs/1602.04938
    """

    n_samples: int = option(1000, least=2, help="Trials, of which the first is the input itself.")
    seed: int = option(0, least=0, help="Seed of the random numbers.")
    distance: Distance = option("cosine", help="How the distance of a trial from the input is measured.")
    kernel_width: float = option(0.25, above=0, help="The distance at which trials begin to count little.")
    regression: Regression = option("ridge", help="The penalty on the coefficients.")
    alpha: float | None = option(
        None, least=0, help="Weight of the penalty; none for 1 with ridge and 0.01 with lasso."
    )

    def scores(self, game: Coalitions) -> tuple[list[Tensor], dict[str, Tensor]]:
        moments = [Moments(count) for count in game.counts]
        near = [0.0] * len(moments)
        for sample, index, on, value in game.play([self.n_samples] * len(moments), self._trial):
            if index == 0:
                near[sample] = value
            # a large constant in f would cost digits, and the intercept can absorb any constant
            moments[sample].add(on, value - near[sample], self._weight(on))
        fits = [self._fitted(regression) for regression in moments]
        r2 = [regression.explained(fit) for regression, fit in zip(moments, fits, strict=True)]
        return fits, {"r2": torch.stack(r2)}

    def _trial(self, count: int, index: int) -> Tensor:
        if index == 0:
            return torch.ones(count, dtype=torch.bool)
        return torch.from_numpy(draws_of(self.seed, index).integers(0, 2, count).astype(bool))

    def _weight(self, on: Tensor) -> float:
        share = on.double().mean().item()
        distance = 1 - math.sqrt(share) if self.distance == "cosine" else math.sqrt(1 - share)
        return math.exp(-(distance**2) / (2 * self.kernel_width**2))

    def _fitted(self, moments: Moments) -> Tensor:
        if self.regression == "lasso":
            return moments.lasso(0.01 if self.alpha is None else self.alpha)
        return moments.ridge(1.0 if self.alpha is None else self.alpha)

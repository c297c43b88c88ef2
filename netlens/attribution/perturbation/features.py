"""What each feature adds: methods whose value belongs to a feature, and feature ablation, the plainest of them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from netlens.attribution.baseline import BASELINES
from netlens.attribution.method import Method, register
from netlens.attribution.perturbation.boxes import ablated
from netlens.attribution.perturbation.coalitions import Coalitions
from netlens.attribution.windows import Windows
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.options import option


@dataclass(frozen=True, eq=False)
class OverFeatures(Method):
    """Abstract: a method that gives each feature one number, from f of x with some of the features off.

    feature_mask: integers that broadcast to `wrt`, (1 or N, ...); entries of equal number are one feature, which is
    switched as a whole and whose value each of them gets. None takes the superpixels of a picture (of which there
    are about `n_segments`), a grid of at most `n_segments` patches of a layer's maps, each token, each entry of a
    vector. See `superpixels` and `patches` for masks of your own.

    baselines: what stands where a feature is off, a number or a tensor that broadcasts to `wrt`.
    """

    feature_mask: Tensor | None = option(
        None, help="Whole numbers that say which entries are one feature; none for superpixels."
    )
    n_segments: int = option(50, least=1, help="About how many features there are without a mask.")
    baselines: float | Tensor = option(0.0, help=BASELINES)
    reduction = "signed"

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        game = Coalitions.of(flat, x, objective, wrt, self.feature_mask, self.n_segments, self.baselines)
        scores, diagnostics = self.scores(game)
        return game.spread(scores), diagnostics

    @abstractmethod
    def scores(self, game: Coalitions) -> tuple[list[Tensor], dict[str, Tensor]]:
        """One number per feature, for each sample; and diagnostics of one number per sample."""


def stream(seed: int, index: int) -> np.random.Generator:
    """The random numbers of one coalition, or permutation: they depend on no sample and no chunk."""
    return np.random.default_rng(np.random.SeedSequence((seed, index)))


@register
@dataclass(frozen=True, eq=False)
class FeatureAblation(OverFeatures):
    """f(x) - f(x with a feature off), for one feature after the other.

    Each entry of `wrt` gets the change that its feature makes, in the units of the objective. The options
    `feature_mask`, `n_segments` and `baselines` say what the features are: see `OverFeatures`. On maps, only what a
    feature can have changed is computed again, exactly; `macs` and `macs_saved` are reported as by `Occlusion`.

    Zeiler and Fergus 2013, https://arxiv.org/abs/1311.2901
    """

    def scores(self, game: Coalitions) -> tuple[list[Tensor], dict[str, Tensor]]:
        scores = [torch.zeros(count, dtype=torch.float64) for count in game.counts]
        windows = Windows.of(game.suffix)
        if windows is not None:
            for sample, feature, fall in ablated(game, windows):
                scores[sample][feature] = fall
            return scores, windows.diagnostics
        full = game.uniform(on=True)
        for sample, feature, _, value in game.play(game.counts, _all_but):
            scores[sample][feature] = full[sample] - value
        return scores, {}


def _all_but(count: int, feature: int) -> Tensor:
    return torch.arange(count) != feature

"""Methods that give each feature one value, and feature ablation, the simplest of them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from netlens.attribution._windows import Windows
from netlens.attribution.baseline import BASELINES, Baseline
from netlens.attribution.method import Method, register
from netlens.attribution.perturbation._boxes import ablated
from netlens.attribution.perturbation._coalitions import Coalitions
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.options import option


@dataclass(frozen=True, eq=False)
class OverFeatures(Method):
    """Abstract: a method that gives each feature one number, from the objective f with some of the features off.

    `feature_mask` holds integers and broadcasts to `wrt`, (1 or N, ...). Entries with equal numbers are one feature:
    they are switched together and get the same value. None takes the superpixels of a picture (about `n_segments`), at
    most `n_segments` segments of a signal or blocks of a volume, as many patches of the maps of a layer, each token, or
    each entry of a vector. `superpixels` and `patches` make masks.

    `baselines` replaces a feature that is off. It is a number, a name, or a tensor that broadcasts to `wrt`.
    """

    feature_mask: Tensor | None = option(
        None, help="Whole numbers that say which entries are one feature; none for superpixels."
    )
    n_segments: int = option(50, least=1, help="About how many features there are without a mask.")
    baselines: Baseline = option(0.0, help=BASELINES)
    reduction = "signed"
    linear = True

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        game = Coalitions.of(flat, x, objective, wrt, self.feature_mask, self.n_segments, self.baselines)
        scores, diagnostics = self.scores(game)
        return game.spread(scores), diagnostics

    @abstractmethod
    def scores(self, game: Coalitions) -> tuple[list[Tensor], dict[str, Tensor]]:
        """One number per feature for each sample, and diagnostics of one number per sample."""


def draws_of(seed: int, index: int) -> np.random.Generator:
    """The random numbers of one coalition or permutation. They depend on neither samples nor chunks."""
    return np.random.default_rng(np.random.SeedSequence((seed, index)))


@register
@dataclass(frozen=True, eq=False)
class FeatureAblation(OverFeatures):
    """How far the objective falls without each feature, for one feature at a time.

    `values` are f(x) - f(x with the feature off), the same for all entries of a feature. They have the shape of `wrt`
    and the unit of the objective f. `feature_mask`, `n_segments` and `baselines` say what the features are; see
    `OverFeatures`.

    On maps, only what a feature can change is computed again, exactly. The diagnostics `macs` and `macs_saved` are
    those of `Occlusion`.

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

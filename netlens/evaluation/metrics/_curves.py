"""Metrics of faithfulness that replace more and more of an image, in the order of relevance, and read the number."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Literal

import torch
from torch import Tensor

from netlens.attribution.baseline import Baseline
from netlens.evaluation._explanation import Explanation
from netlens.evaluation._removal import Removal
from netlens.evaluation.metrics._metric import Metric, register_metric
from netlens.options import option

Filling = Baseline | Literal["inpainted"]
"""What replaces pixels: a baseline, or for "inpainted" a weighted mean of their neighbors, as `road` has it."""

FILLINGS = "What replaces pixels: a number, a name such as blur, inpainted from their surroundings, or a tensor."

_OFF = "The replaced image looks like nothing that the network has seen, which may change the number by itself."


@dataclass(frozen=True)
class Curve(Metric):
    """Abstract: a metric that is read off a curve of the judged number."""

    family = "faithfulness"
    bounds = (-inf, inf)
    assumes = _OFF

    @abstractmethod
    def curve(self, explanation: Explanation) -> tuple[Tensor, Tensor]:
        """(K,) and (N, K): the share of the image that is replaced at each point, and the judged number there."""


@dataclass(frozen=True)
class Area(Curve):
    """Abstract: the area under the curve, over the share that has been replaced or has come back, by trapezoids."""

    def judge(self, explanation: Explanation) -> Tensor:
        shares, values = self.curve(explanation)
        return torch.trapezoid(values, (shares - shares[0]).abs().to(values), dim=1)


@dataclass(frozen=True)
class EvenArea(Area):
    """Abstract: the area under a curve whose steps have equally many pixels."""

    steps: int = option(32, least=1, help="Number of steps between the image and nothing.")
    baselines: Filling = option("blur", help=FILLINGS)

    def even(self, removal: Removal) -> list[int]:
        """How many pixels are replaced at each point."""
        return [round(removal.count * i / self.steps) for i in range(self.steps + 1)]


@register_metric
@dataclass(frozen=True)
class Deletion(EvenArea):
    """The area under the judged number while the image is deleted, the most relevant pixels first. Less is better.

    With f the judged number, x the image and x_s the image whose share s of most relevant pixels is replaced, it is the
    integral of f(x_s) over s from 0 to 1.

    Petsiuk et al. 2018, https://arxiv.org/abs/1806.07421
    """

    more_is_better = False

    def curve(self, explanation: Explanation) -> tuple[Tensor, Tensor]:
        removal = of_pixels(explanation, self.baselines)
        counts = self.even(removal)
        return torch.tensor(counts).double() / removal.count, removal(counts)


@register_metric
@dataclass(frozen=True)
class Insertion(EvenArea):
    """The area under the judged number while the image comes back, the most relevant pixels first. More is better.

    It is the integral of f over the share of pixels of the image that have come back.

    Petsiuk et al. 2018, https://arxiv.org/abs/1806.07421
    """

    more_is_better = True

    def curve(self, explanation: Explanation) -> tuple[Tensor, Tensor]:
        removal = of_pixels(explanation, self.baselines)
        counts = self.even(removal)
        # what is left after the least relevant pixels have gone are the most relevant ones
        values = removal([removal.count - count for count in counts], least=True)
        return 1 - torch.tensor(counts).double() / removal.count, values


@register_metric
@dataclass(frozen=True)
class PixelFlipping(Curve):
    """The mean judged number after each step in which the next most relevant pixels are replaced. Less is better.

    The curve has no point for the whole image, and a step has a fixed number of pixels.

    Bach et al. 2015, https://doi.org/10.1371/journal.pone.0130140
    """

    pixels: int = option(224, least=1, help="Number of pixels in a step.")
    baselines: Filling = option("black", help=FILLINGS)
    more_is_better = False

    def curve(self, explanation: Explanation) -> tuple[Tensor, Tensor]:
        removal = of_pixels(explanation, self.baselines)
        n = removal.count
        counts = [min(n, (i + 1) * self.pixels) for i in range(ceil(n / self.pixels))]
        return torch.tensor(counts).double() / n, removal(counts)

    def judge(self, explanation: Explanation) -> Tensor:
        return self.curve(explanation)[1].mean(1)


@register_metric
@dataclass(frozen=True)
class RegionPerturbation(Curve):
    """The mean fall of the judged number while the most relevant regions are replaced (AOPC). More is better.

    With x_k the image after k regions are replaced: 1 / (L + 1) times the sum over k from 0 to L of f(x) - f(x_k).

    Samek et al. 2017, https://arxiv.org/abs/1509.06321
    """

    side: int = option(9, least=1, help="Side of a region in pixels.")
    regions: int = option(100, least=1, help="The most regions that are replaced.")
    baselines: Filling = option("uniform", help=FILLINGS)
    more_is_better = True

    def curve(self, explanation: Explanation) -> tuple[Tensor, Tensor]:
        removal = of_regions(explanation, self.baselines, self.side)
        counts = list(range(min(self.regions, removal.count) + 1))
        return torch.tensor(counts).double() / removal.count, removal(counts)

    def judge(self, explanation: Explanation) -> Tensor:
        _, values = self.curve(explanation)
        return (values[:, :1] - values).mean(1)


@register_metric
@dataclass(frozen=True)
class Selectivity(Area):
    """The area under the judged number while regions are removed, the most relevant first. Less is better.

    Montavon et al. 2018, https://doi.org/10.1016/j.dsp.2017.10.011
    """

    side: int = option(16, least=1, help="Side of a region in pixels.")
    baselines: Filling = option("black", help=FILLINGS)
    more_is_better = False

    def curve(self, explanation: Explanation) -> tuple[Tensor, Tensor]:
        removal = of_regions(explanation, self.baselines, self.side)
        counts = list(range(removal.count + 1))
        return torch.tensor(counts).double() / removal.count, removal(counts)


@dataclass(frozen=True)
class Fall(Curve):
    """Abstract: how far the judged number falls, the mean over some shares of most relevant pixels."""

    shares: Sequence[float] = option(
        (0.01, 0.05, 0.1, 0.2, 0.5), above=0, most=1, help="Shares of the pixels that count as most relevant."
    )
    baselines: Filling = option("blur", help=FILLINGS)

    def judge(self, explanation: Explanation) -> Tensor:
        return (explanation.case.values[:, None] - self.curve(explanation)[1]).mean(1)


@register_metric
@dataclass(frozen=True)
class Comprehensiveness(Fall):
    """How far the judged number falls without the most relevant pixels, the mean over some shares. More is better.

    DeYoung et al. 2020, https://arxiv.org/abs/1911.03429
    """

    more_is_better = True

    def curve(self, explanation: Explanation) -> tuple[Tensor, Tensor]:
        removal = of_pixels(explanation, self.baselines)
        counts = [round(share * removal.count) for share in self.shares]
        return torch.tensor(counts).double() / removal.count, removal(counts)


@register_metric
@dataclass(frozen=True)
class Sufficiency(Fall):
    """How far the judged number falls with nothing but the most relevant pixels, the mean over some shares.

    Less is better: a number below 0 says that these pixels alone speak for the class more than the whole image.

    DeYoung et al. 2020, https://arxiv.org/abs/1911.03429
    """

    more_is_better = False

    def curve(self, explanation: Explanation) -> tuple[Tensor, Tensor]:
        removal = of_pixels(explanation, self.baselines)
        counts = [removal.count - round(share * removal.count) for share in self.shares]
        return torch.tensor(counts).double() / removal.count, removal(counts, least=True)


def of_pixels(explanation: Explanation, baselines: Filling) -> Removal:
    """Removal of single pixels."""
    key = "pixels", baselines if not isinstance(baselines, Tensor) else id(baselines)
    return Removal(explanation, _filling(explanation, baselines), key)


def of_regions(explanation: Explanation, baselines: Filling, side: int) -> Removal:
    """Removal of squares, which lie side by side from the corner at the top left."""
    height, width = explanation.case.sides
    across = ceil(width / side)
    rows, columns = torch.arange(height) // side, torch.arange(width) // side
    group_of = (rows[:, None] * across + columns).expand(len(explanation.case), -1, -1)
    key = side, baselines if not isinstance(baselines, Tensor) else id(baselines)
    return Removal(explanation, _filling(explanation, baselines), key, group_of, ceil(height / side) * across)


def _filling(explanation: Explanation, baselines: Filling) -> Tensor | None:
    return None if isinstance(baselines, str) and baselines == "inpainted" else explanation.case.baseline(baselines)

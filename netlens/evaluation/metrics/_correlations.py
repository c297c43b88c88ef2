"""Metrics of faithfulness that compare the relevance of parts with what happens when these parts are replaced."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

import torch
from torch import Tensor

from netlens.attribution.baseline import BASELINES, Baseline
from netlens.evaluation._explanation import Explanation
from netlens.evaluation.metrics._curves import of_pixels
from netlens.evaluation.metrics._metric import Metric, register_metric
from netlens.options import option

_SEED = "Seed of the random parts."
_ADDS = "The effects of pixels add up, which they do in a linear network only."


@dataclass(frozen=True)
class Parts(Metric):
    """Abstract: a metric that replaces parts of the image, each alone.

    The relevance of a part is the sum over its pixels, and its effect is the fall of the judged number.
    """

    family = "faithfulness"
    assumes = _ADDS

    @abstractmethod
    def parts(self, n: int, height: int, width: int, ranks: Tensor) -> Tensor:
        """(N, K, H, W), bool: the pixels of each of K parts of each image; ranks are (N, H, W)."""

    def effects(self, explanation: Explanation, baselines: Baseline) -> tuple[Tensor, Tensor]:
        """(N, K) each: the relevance and the effect of each part."""
        case = explanation.case
        parts = self.parts(len(case), *case.sides, explanation.ranks)
        n, k = parts.shape[:2]
        filling = case.baseline(baselines)

        def make(numbers: Sequence[int]) -> Tensor:
            rows, which = zip(*(divmod(number, k) for number in numbers), strict=True)
            gone = parts[list(rows), list(which)][:, None].to(case.x.device)
            return torch.where(gone, filling[list(rows)], case.x[list(rows)])

        values = case.values_of([number // k for number in range(n * k)], make).view(n, k)
        relevance = torch.einsum("nhw,nkhw->nk", explanation.maps, parts.double())
        return relevance, case.values[:, None] - values


@register_metric
@dataclass(frozen=True)
class FaithfulnessCorrelation(Parts):
    """The correlation of the relevance of random sets of pixels with their effect. More is better.

    Bhatt et al. 2020, https://arxiv.org/abs/2005.00631
    """

    share: float = option(0.1, above=0, most=1, help="Share of the pixels in a set.")
    sets: int = option(100, least=3, help="Number of sets.")
    baselines: Baseline = option("black", help=BASELINES)
    seed: int = option(0, least=0, help=_SEED)
    more_is_better = True
    bounds = (-1, 1)

    def parts(self, n: int, height: int, width: int, ranks: Tensor) -> Tensor:
        return _random_sets(n, self.sets, height, width, self.share, self.seed)

    def judge(self, explanation: Explanation) -> Tensor:
        return correlation(*self.effects(explanation, self.baselines))


@register_metric
@dataclass(frozen=True)
class FaithfulnessEstimate(Parts):
    """The correlation of the relevance of parts with their effect. Parts are steps in the order of relevance.

    More is better. Alvarez-Melis and Jaakkola 2018, https://arxiv.org/abs/1806.07538
    """

    pixels: int = option(224, least=1, help="Number of pixels in a part.")
    baselines: Baseline = option("black", help=BASELINES)
    more_is_better = True
    bounds = (-1, 1)

    def parts(self, n: int, height: int, width: int, ranks: Tensor) -> Tensor:
        steps = torch.arange(ceil(height * width / self.pixels))
        return (ranks // self.pixels)[:, None] == steps[:, None, None]

    def judge(self, explanation: Explanation) -> Tensor:
        return correlation(*self.effects(explanation, self.baselines))


@register_metric
@dataclass(frozen=True)
class SensitivityN(Parts):
    """The correlation of the relevance of random sets of n pixels with their effect, the mean over several n.

    More is better. Ancona et al. 2018, https://arxiv.org/abs/1711.06104
    """

    shares: Sequence[float] = option((0.01, 0.1, 0.3, 0.6), above=0, most=1, help="The n, as shares of the pixels.")
    sets: int = option(32, least=3, help="Number of sets for each n.")
    baselines: Baseline = option("black", help=BASELINES)
    seed: int = option(0, least=0, help=_SEED)
    more_is_better = True
    bounds = (-1, 1)

    def parts(self, n: int, height: int, width: int, ranks: Tensor) -> Tensor:
        seeds = [self.seed * len(self.shares) + i for i in range(len(self.shares))]
        every = [
            _random_sets(n, self.sets, height, width, share, seed)
            for share, seed in zip(self.shares, seeds, strict=True)
        ]
        return torch.cat(every, dim=1)

    def judge(self, explanation: Explanation) -> Tensor:
        relevance, effect = (
            values.unflatten(1, (-1, self.sets)) for values in self.effects(explanation, self.baselines)
        )
        return correlation(relevance, effect).mean(1)


@register_metric
@dataclass(frozen=True)
class Infidelity(Parts):
    """How far the relevance of random squares is from their effect, relative to the effects. Less is better.

    With r the relevance of a square, d its effect and b the factor that fits best: E[(b r - d)²] / E[d²]. It is 0 if
    relevance is proportional to the effect, and 1 if it says nothing about it.

    Yeh et al. 2019, https://arxiv.org/abs/1901.09392
    """

    share: float = option(0.25, above=0, most=1, help="Side of a square, as a share of the shorter side of the image.")
    squares: int = option(100, least=2, help="Number of squares.")
    baselines: Baseline = option("black", help=BASELINES)
    seed: int = option(0, least=0, help=_SEED)
    more_is_better = False
    bounds = (0, 1)

    def parts(self, n: int, height: int, width: int, ranks: Tensor) -> Tensor:
        side = max(1, round(self.share * min(height, width)))
        generator = torch.Generator().manual_seed(self.seed)
        tops = torch.randint(height - side + 1, (n, self.squares, 1, 1), generator=generator)
        lefts = torch.randint(width - side + 1, (n, self.squares, 1, 1), generator=generator)
        rows, columns = torch.arange(height)[:, None], torch.arange(width)
        inside: Tensor = (rows >= tops) & (rows < tops + side) & (columns >= lefts) & (columns < lefts + side)
        return inside

    def judge(self, explanation: Explanation) -> Tensor:
        relevance, effect = self.effects(explanation, self.baselines)
        squares = relevance.square().mean(1)
        factor = torch.where(squares > 0, (relevance * effect).mean(1) / squares, torch.zeros_like(squares))
        wrong = (factor[:, None] * relevance - effect).square().mean(1)
        return wrong / effect.square().mean(1)  # NaN if no square has an effect


@register_metric
@dataclass(frozen=True)
class Monotonicity(Metric):
    """The share of steps in which the judged number does not fall while pixels come back, the least relevant first.

    More is better, and 1 is monotone. Arya et al. 2019, https://arxiv.org/abs/1909.03012
    """

    pixels: int = option(224, least=1, help="Number of pixels in a step.")
    baselines: Baseline = option("black", help=BASELINES)
    family = "faithfulness"
    more_is_better = True
    bounds = (0, 1)
    assumes = "Each part of the image can only speak for the class."

    def judge(self, explanation: Explanation) -> Tensor:
        removal = of_pixels(explanation, self.baselines)
        # what comes back first is least relevant, so what is gone are the most relevant pixels
        back = [min(removal.count, (i + 1) * self.pixels) for i in range(ceil(removal.count / self.pixels))]
        values = removal([removal.count - count for count in back])
        if len(back) < 2:
            return torch.full((len(values),), inf).mul(0)
        return (values.diff(dim=1) >= 0).double().mean(1)


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """(...): Pearson's correlation along the last dimension; NaN where one of them is constant.

    Args:
        a, b: Values (..., P). Their shapes broadcast.

    Example:
        >>> correlation(torch.tensor([[1, 2, 3], [5, 5, 5]]), torch.tensor([6, 4, 2])).tolist()
        [-1.0, nan]
    """
    a, b = (values - values.mean(-1, keepdim=True) for values in (a.double(), b.double()))
    return (a * b).sum(-1) / (a.square().sum(-1) * b.square().sum(-1)).sqrt()


def _random_sets(n: int, sets: int, height: int, width: int, share: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    count = max(1, round(share * height * width))
    chosen = torch.rand(n, sets, height * width, generator=generator).topk(count, dim=-1).indices
    parts = torch.zeros(n, sets, height * width, dtype=torch.bool)
    return parts.scatter_(-1, chosen, True).view(n, sets, height, width)

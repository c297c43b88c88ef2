"""Metrics of robustness: whether an explanation changes more than the image does."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from netlens.evaluation._explanation import Explanation
from netlens.evaluation.metrics._correlations import correlation
from netlens.evaluation.metrics._metric import Metric, register_metric
from netlens.options import option

_SAME = "The network sees the same thing in the changed image, so that the explanation should stay."


@dataclass(frozen=True)
class Disturbed(Metric):
    """Abstract: explains each image again with uniform noise. Less is better."""

    radius: float = option(0.02, above=0, help="The largest noise, in the units of the network's input.")
    samples: int = option(10, least=1, help="How often each image is explained again.")
    seed: int = option(0, least=0, help="Seed of the noise.")
    family = "robustness"
    more_is_better = False
    bounds = (0, inf)
    needs = "method"
    assumes = _SAME

    def changes(self, explanation: Explanation) -> tuple[Tensor, Tensor]:
        """(N, samples) each: how far the explanation moved, relative to its length, and how far the image moved."""
        case, maps = explanation.case, explanation.maps.flatten(1)
        generator = torch.Generator().manual_seed(self.seed)
        moved, noises = [], []
        for _ in range(self.samples):
            noise = (2 * torch.rand(case.x.shape, generator=generator, dtype=torch.float64) - 1) * self.radius
            again = explanation.again(case.x + noise.to(case.x), list(range(len(case)))).flatten(1)
            moved.append((again - maps).norm(dim=1) / maps.norm(dim=1))
            noises.append(noise.flatten(1).norm(dim=1))
        return torch.stack(moved, dim=1), torch.stack(noises, dim=1)

    @abstractmethod
    def judge(self, explanation: Explanation) -> Tensor: ...


@register_metric
@dataclass(frozen=True)
class MaxSensitivity(Disturbed):
    """The largest change of the explanation under noise, relative to its length.

    Yeh et al. 2019, https://arxiv.org/abs/1901.09392
    """

    def judge(self, explanation: Explanation) -> Tensor:
        return self.changes(explanation)[0].amax(1)


@register_metric
@dataclass(frozen=True)
class AverageSensitivity(Disturbed):
    """The mean change of the explanation under noise, relative to its length.

    Yeh et al. 2019, https://arxiv.org/abs/1901.09392
    """

    def judge(self, explanation: Explanation) -> Tensor:
        return self.changes(explanation)[0].mean(1)


@register_metric
@dataclass(frozen=True)
class LocalLipschitz(Disturbed):
    """The largest change of the explanation, relative to its length, for each unit that the image moves.

    Alvarez-Melis and Jaakkola 2018, https://arxiv.org/abs/1806.08049
    """

    def judge(self, explanation: Explanation) -> Tensor:
        moved, distance = self.changes(explanation)
        return (moved / distance).amax(1)


@register_metric
@dataclass(frozen=True)
class Continuity(Metric):
    """Whether the explanation moves with the image: its correlation with that of a shifted image, shifted back.

    The mean over shifts to the four sides, away from the border. More is better.

    Montavon et al. 2018, https://doi.org/10.1016/j.dsp.2017.10.011
    """

    pixels: int = option(4, least=1, help="How far the image is shifted.")
    family = "robustness"
    more_is_better = True
    bounds = (-1, 1)
    needs = "method"
    assumes = _SAME

    def judge(self, explanation: Explanation) -> Tensor:
        case, correlations = explanation.case, []
        p = self.pixels
        for dy, dx in ((p, 0), (-p, 0), (0, p), (0, -p)):
            shifted = case.x.roll((dy, dx), dims=(2, 3))
            again = explanation.again(shifted, list(range(len(case)))).roll((-dy, -dx), dims=(1, 2))
            inner = [maps[:, p:-p, p:-p].flatten(1) for maps in (explanation.maps, again)]
            correlations.append(correlation(*inner))
        return torch.stack(correlations).mean(0)

"""Metrics of faithfulness whose replaced pixels look like their surroundings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from netlens.attribution import superpixels
from netlens.evaluation._explanation import Explanation
from netlens.evaluation._imputation import imputed
from netlens.evaluation._removal import Removal
from netlens.evaluation.metrics._curves import Curve
from netlens.evaluation.metrics._metric import Metric, register_metric
from netlens.options import option


@register_metric
@dataclass(frozen=True)
class ROAD(Metric):
    """How much further the judged number falls without the most relevant pixels than without the least relevant ones.

    Removed pixels become a weighted mean of their neighbors, with a little noise, so that the hole itself says little.
    With f_m(s) the number without the share s of most relevant pixels and f_l(s) without that of least relevant ones,
    it is the mean over s of (f_l(s) - f_m(s)) / 2. More is better.

    Rong et al. 2022, https://arxiv.org/abs/2202.00449
    """

    shares: Sequence[float] = option((0.2, 0.4, 0.6, 0.8), above=0, most=1, help="Shares of the pixels.")
    noise: float = option(0.01, least=0, help="Deviation of the noise, in the units of the network's input.")
    seed: int = option(0, least=0, help="Seed of the noise.")
    family = "faithfulness"
    more_is_better = True
    bounds = (-inf, inf)
    assumes = "What a hole looked like cannot be told from its surroundings."

    def judge(self, explanation: Explanation) -> Tensor:
        most, least = (self.without(explanation, first) for first in (False, True))
        return ((least - most) / 2).mean(1)

    def without(self, explanation: Explanation, least: bool) -> Tensor:
        """(N, K): the judged number without each share of the most, or of the least, relevant pixels."""
        case, ranks = explanation.case, explanation.ranks
        n, k, pixels = len(case), len(self.shares), ranks[0].numel()
        counts = [round(share * pixels) for share in self.shares]

        def make(numbers: Sequence[int]) -> Tensor:
            images = []
            for number in numbers:
                sample, which = divmod(number, k)
                gone = ranks[sample] >= pixels - counts[which] if least else ranks[sample] < counts[which]
                generator = torch.Generator().manual_seed(self.seed)
                images.append(imputed(case.x[sample], gone, self.noise, generator))
            return torch.stack(images)

        return case.values_of([number // k for number in range(n * k)], make).view(n, k)


@register_metric
@dataclass(frozen=True)
class IROF(Curve):
    """The mean relative fall of the judged number while superpixels become the mean color, the most relevant first.

    With x_k the image without the first k of K superpixels: the mean over k from 0 to K of 1 - f(x_k) / f(x). More is
    better. It needs scikit-image.

    Rieger and Hansen 2020, https://arxiv.org/abs/2003.08747
    """

    segments: int = option(50, least=2, help="About how many superpixels an image has.")
    more_is_better = True
    bounds = (-inf, inf)
    assumes = "The judged number is above 0, and each superpixel is a thing or a part of one."

    def curve(self, explanation: Explanation) -> tuple[Tensor, Tensor]:
        case = explanation.case
        group_of = superpixels(case.flat, case.x, self.segments)[:, 0].cpu()
        count = int(group_of.max()) + 1
        removal = Removal(explanation, case.baseline("mean"), ("superpixels", self.segments), group_of, count)
        counts = list(range(count + 1))
        return torch.tensor(counts).double() / count, removal(counts)

    def judge(self, explanation: Explanation) -> Tensor:
        _, values = self.curve(explanation)
        return (1 - values / values[:, :1]).mean(1)

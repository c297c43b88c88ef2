"""Metrics of complexity: on how few pixels the relevance lies."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from netlens.evaluation._explanation import Explanation
from netlens.evaluation.metrics._metric import Metric, register_metric

_READABLE = "People read sparse explanations better. A sparse explanation may still be wrong."


@register_metric
@dataclass(frozen=True)
class Gini(Metric):
    """The Gini index of the sizes of relevance: 0 if all pixels have the same, close to 1 if one has all.

    More is better. With sizes v from the least: the sum over i of (2 i - P - 1) v_i, divided by P times their sum.

    Chalasani et al. 2020, https://arxiv.org/abs/1810.06583
    """

    family = "complexity"
    more_is_better = True
    bounds = (0, 1)
    assumes = _READABLE

    def judge(self, explanation: Explanation) -> Tensor:
        sizes = explanation.maps.flatten(1).abs().sort(dim=1).values
        n = sizes.shape[1]
        weights = 2 * torch.arange(1, n + 1).double() - n - 1
        return (weights * sizes).sum(1) / (n * sizes.sum(1))


@register_metric
@dataclass(frozen=True)
class Entropy(Metric):
    """The entropy of the shares of relevance, in nats: 0 if one pixel has all, log P if all of P have the same.

    Less is better. Bhatt et al. 2020, https://arxiv.org/abs/2005.00631
    """

    family = "complexity"
    more_is_better = False
    bounds = (0, inf)
    assumes = _READABLE

    def judge(self, explanation: Explanation) -> Tensor:
        return _entropy(explanation)


@register_metric
@dataclass(frozen=True)
class EffectivePixels(Metric):
    """The number of pixels that would have the same entropy if they shared the relevance evenly: exp(entropy).

    Less is better. Hill 1973, https://doi.org/10.2307/1934352
    """

    family = "complexity"
    more_is_better = False
    bounds = (1, inf)
    assumes = _READABLE

    def judge(self, explanation: Explanation) -> Tensor:
        return _entropy(explanation).exp()


def _entropy(explanation: Explanation) -> Tensor:
    sizes = explanation.maps.flatten(1).abs()
    entropy: Tensor = torch.special.entr(sizes / sizes.sum(1, keepdim=True)).sum(1)
    return entropy

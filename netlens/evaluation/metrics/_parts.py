"""Metrics that know what each part of an image truly does, because a renderer has made the image without it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.evaluation._explanation import Explanation
from netlens.evaluation.metrics._metric import Metric, register_metric
from netlens.evaluation.metrics._ranks import rank_correlation
from netlens.options import option


@dataclass(frozen=True)
class TruePart(Metric):
    """Abstract: a metric that compares the relevance of parts with their true effects.

    The relevance of a part is the sum over its pixels. Its effect is the fall of the judged number in the image that
    was rendered without it.
    """

    family = "faithfulness"
    needs = "image_parts"
    assumes = "A part does alone what it does together with the others."

    def judge(self, explanation: Explanation) -> Tensor:
        case = explanation.case
        assert case.image_parts is not None
        n, k = case.image_parts.masks.shape[:2]
        masks, without = case.image_parts.masks.cpu().bool(), case.image_parts.without.flatten(0, 1)
        values = case.values_of([job // k for job in range(n * k)], lambda jobs: without[list(jobs)]).view(n, k)
        relevance = torch.einsum("nhw,nkhw->nk", explanation.maps, masks.to(explanation.maps))
        effects, present = case.values[:, None] - values, masks.flatten(2).any(2)
        return torch.stack([self.compared(a[i], b[i]) for a, b, i in zip(relevance, effects, present, strict=True)])

    @abstractmethod
    def compared(self, relevance: Tensor, effects: Tensor) -> Tensor:
        """The number of one image, from the relevance and the effects (K,) of its parts."""


@register_metric
@dataclass(frozen=True)
class PartImportance(TruePart):
    """The rank correlation of the relevance of parts with their true effects (single deletion). More is better.

    It is NaN for an image with fewer than two parts.

    Hesse et al. 2023, https://arxiv.org/abs/2308.06248
    """

    more_is_better = True
    bounds = (-1, 1)

    def compared(self, relevance: Tensor, effects: Tensor) -> Tensor:
        if len(relevance) < 2:
            return torch.tensor(torch.nan).double()
        return rank_correlation(relevance[None], effects[None])[0]


@register_metric
@dataclass(frozen=True)
class EqualParts(TruePart):
    """How differently parts with an equal effect are explained: |a - b| / (|a| + |b|) for relevance a and b.

    It is the mean over pairs of parts whose effects differ by less than a share of the larger one, and NaN for an image
    without such a pair. Less is better: 0 if both have the same relevance, 1 if one of them has all.

    Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365
    """

    tolerance: float = option(0.1, above=0, below=1, help="The share by which equal effects may differ.")
    more_is_better = False
    bounds = (0, 1)

    def compared(self, relevance: Tensor, effects: Tensor) -> Tensor:
        one, other = torch.triu_indices(len(effects), len(effects), offset=1)
        largest = torch.maximum(effects[one].abs(), effects[other].abs())
        equal = (effects[one] - effects[other]).abs() < self.tolerance * largest
        a, b = relevance[one][equal], relevance[other][equal]
        return ((a - b).abs() / (a.abs() + b.abs())).mean()

"""Metrics of localization: whether the relevance lies on the object that truly causes the class."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.evaluation._explanation import Explanation
from netlens.evaluation.metrics._metric import Metric, register_metric
from netlens.options import option


@dataclass(frozen=True)
class Located(Metric):
    """Abstract: a metric that compares the relevance with the mask of the true object. More is better.

    It is NaN for an image whose mask is empty or full.
    """

    family = "localization"
    more_is_better = True
    bounds = (0, 1)
    needs = "masks"
    assumes = "The network looks at the object in the mask, and not at its surroundings."

    def judge(self, explanation: Explanation) -> Tensor:
        assert explanation.case.masks is not None
        maps, inside = explanation.maps.flatten(1), explanation.case.masks.flatten(1).bool().cpu()
        is_partial = inside.any(1) & ~inside.all(1)
        return torch.where(
            is_partial, self.located(maps, inside).double(), torch.full((len(maps),), torch.nan).double()
        )

    @abstractmethod
    def located(self, maps: Tensor, inside: Tensor) -> Tensor:
        """(N,): the number of each image, from relevance and masks (N, P)."""


@register_metric
@dataclass(frozen=True)
class PointingGame(Located):
    """Whether the most relevant pixel lies in the mask.

    Zhang et al. 2018, https://arxiv.org/abs/1608.00507
    """

    def located(self, maps: Tensor, inside: Tensor) -> Tensor:
        return inside.gather(1, maps.argmax(1, keepdim=True))[:, 0]


@register_metric
@dataclass(frozen=True)
class EnergyInside(Located):
    """The share of the positive relevance that lies in the mask (relevance mass accuracy).

    Arras et al. 2022, https://arxiv.org/abs/2003.07258
    """

    def located(self, maps: Tensor, inside: Tensor) -> Tensor:
        positive = maps.clamp(min=0)
        total = positive.sum(1)
        return torch.where(total > 0, (positive * inside).sum(1) / total, torch.zeros_like(total))


@register_metric
@dataclass(frozen=True)
class RankAccuracy(Located):
    """The share of the K most relevant pixels that lie in the mask, with K the number of pixels of the mask.

    Arras et al. 2022, https://arxiv.org/abs/2003.07258
    """

    def located(self, maps: Tensor, inside: Tensor) -> Tensor:
        sizes = inside.sum(1)
        order = maps.argsort(dim=1, descending=True, stable=True)
        first = torch.arange(maps.shape[1]) < sizes[:, None]
        return (inside.gather(1, order) & first).sum(1) / sizes


@register_metric
@dataclass(frozen=True)
class TopIntersection(Located):
    """The share of the k most relevant pixels that lie in the mask.

    Theiner et al. 2022, https://arxiv.org/abs/2104.14995
    """

    k: int = option(1000, least=1, help="Number of pixels.")

    def located(self, maps: Tensor, inside: Tensor) -> Tensor:
        order = maps.argsort(dim=1, descending=True, stable=True)[:, : self.k]
        return inside.gather(1, order).double().mean(1)


@register_metric
@dataclass(frozen=True)
class BestOverlap(Located):
    """The overlap of the mask with the pixels above a threshold (IoU), at the threshold that fits best.

    Choe et al. 2020, https://arxiv.org/abs/2001.07437
    """

    def located(self, maps: Tensor, inside: Tensor) -> Tensor:
        # each pixel is a threshold; equal values go together
        values, order = maps.sort(dim=1, descending=True, stable=True)
        hits = inside.gather(1, order).cumsum(1)
        above = torch.arange(1, maps.shape[1] + 1)
        overlap = hits / (above + inside.sum(1, keepdim=True) - hits)
        last_of_equal = torch.cat([values[:, 1:] < values[:, :-1], torch.ones_like(inside[:, :1])], dim=1)
        return torch.where(last_of_equal, overlap, torch.zeros_like(overlap)).amax(1)


@register_metric
@dataclass(frozen=True)
class AreaUnderROC(Located):
    """The probability that a pixel of the mask is more relevant than one outside; equal relevance counts one half.

    Fawcett 2006, https://doi.org/10.1016/j.patrec.2005.10.010
    """

    def located(self, maps: Tensor, inside: Tensor) -> Tensor:
        values, order = maps.sort(dim=1, stable=True)
        areas = []
        for row, mask in zip(values, inside.gather(1, order), strict=True):
            _, group, counts = row.unique_consecutive(return_inverse=True, return_counts=True)
            ends = counts.cumsum(0)
            mean_ranks = (ends - counts + 1 + ends).double() / 2  # the same for equal values
            n_in = int(mask.sum())
            sum_in = mean_ranks[group][mask].sum()
            areas.append((sum_in - n_in * (n_in + 1) / 2) / max(1, n_in * (len(row) - n_in)))
        return torch.stack(areas)

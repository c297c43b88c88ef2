"""Metrics of axioms: properties that an explanation must have whatever the network is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor, nn

from netlens.attribution.baseline import BASELINES, Baseline
from netlens.evaluation._explanation import Explanation, relevance
from netlens.evaluation.metrics._correlations import correlation
from netlens.evaluation.metrics._metric import Metric, register_metric
from netlens.options import option


@register_metric
@dataclass(frozen=True)
class CompletenessGap(Metric):
    """How far the sum of an explanation is from what it explains: |sum - (f(x) - f(b))| / |f(x) - f(b)|.

    f is what is explained, and b the baseline. Less is better. Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365
    """

    baselines: Baseline = option(0.0, help=BASELINES)
    family = "axioms"
    more_is_better = False
    bounds = (0, inf)
    assumes = "The method promises that its values sum up to the difference from this baseline."

    def judge(self, explanation: Explanation) -> Tensor:
        case = replace(explanation.case, judged=None, masks=None)
        filling = case.baseline(self.baselines)
        difference = case.values - case.values_of(range(len(case)), lambda rows: filling[list(rows)])
        total = explanation.maps.sum((1, 2)) if explanation.totals is None else explanation.totals
        return (total - difference).abs() / difference.abs()


@register_metric
@dataclass(frozen=True)
class InputInvariance(Metric):
    """Whether a constant that is added to the image and taken off by the network leaves an explanation as it is.

    The correlation of both explanations. More is better. Kindermans et al. 2017, https://arxiv.org/abs/1711.00867
    """

    shift: float = option(1.0, help="The constant, in the units of the network's input.")
    family = "axioms"
    more_is_better = True
    bounds = (-1, 1)
    needs = "method"
    assumes = "The zero of the input means nothing."

    def judge(self, explanation: Explanation) -> Tensor:
        case, method = explanation.case, explanation.method
        assert method is not None
        flat = case.flat.prepend("netlens_shift", Shift(-self.shift))
        shifted = relevance(method(flat, case.x + self.shift, case.explained), case)
        return correlation(explanation.maps.flatten(1), shifted.flatten(1))


class Shift(nn.Module):
    """Adds a constant."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x + self.by


@register_metric
@dataclass(frozen=True)
class NonSensitivity(Metric):
    """The share of regions whose relevance contradicts their effect: one of them is nothing, and the other is not.

    Less is better. A region has no effect if the judged number stays within `tolerance` of its size when the region is
    replaced, and no relevance if that is as small beside the largest one.

    Nguyen and Rodríguez Martínez 2020, https://arxiv.org/abs/2007.07584
    """

    side: int = option(16, least=1, help="Side of a region in pixels.")
    baselines: Baseline = option("black", help=BASELINES)
    tolerance: float = option(1e-5, above=0, help="What counts as nothing, as a share.")
    family = "axioms"
    more_is_better = False
    bounds = (0, 1)
    assumes = "The network reads only a part of the image."

    def judge(self, explanation: Explanation) -> Tensor:
        case = explanation.case
        height, width = case.sides
        rows, columns = torch.arange(height) // self.side, torch.arange(width) // self.side
        across = int(columns[-1]) + 1
        group_of = rows[:, None] * across + columns
        count = int(group_of.max()) + 1
        filling = case.baseline(self.baselines)

        def make(numbers: range) -> Tensor:
            gone = torch.stack([group_of == number % count for number in numbers])[:, None].to(case.x.device)
            samples = [number // count for number in numbers]
            return torch.where(gone, filling[samples], case.x[samples])

        jobs = [number // count for number in range(len(case) * count)]
        values = case.values_of(jobs, make).view(len(case), count)  # type: ignore[arg-type]  # it gets a range
        effects = (values - case.values[:, None]).abs() / case.values.abs()[:, None]
        sums = explanation.maps.new_zeros(len(case), count)
        sums.scatter_add_(1, group_of.expand(len(case), -1, -1).flatten(1), explanation.maps.flatten(1).abs())
        shares = sums / sums.amax(1, keepdim=True)
        return ((effects > self.tolerance) != (shares > self.tolerance)).double().mean(1)

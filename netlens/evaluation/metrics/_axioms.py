"""Metrics of axioms: properties that an explanation must have whatever the network is."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

import torch
from torch import Tensor, nn

from netlens.attribution.baseline import BASELINES, Baseline
from netlens.evaluation._case import Case
from netlens.evaluation._explanation import Explanation, relevance
from netlens.evaluation.metrics._correlations import correlation
from netlens.evaluation.metrics._metric import Metric, register_metric
from netlens.fast import folded
from netlens.flat import FlatModel
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


@dataclass(frozen=True)
class Invariance(Metric):
    """Abstract: the correlation with the explanation of the same function of the image, computed by another network.

    More is better, and 1 is invariant.
    """

    family = "axioms"
    more_is_better = True
    bounds = (-1, 1)
    needs = "method"

    def judge(self, explanation: Explanation) -> Tensor:
        case, method = explanation.case, explanation.method
        assert method is not None
        other = relevance(method(*self.rewritten(case), case.explained), case)
        return correlation(explanation.maps.flatten(1), other.flatten(1))

    @abstractmethod
    def rewritten(self, case: Case) -> tuple[FlatModel, Tensor]:
        """The other network and its input, whose numbers are those of the case."""


@register_metric
@dataclass(frozen=True)
class InputInvariance(Invariance):
    """Whether a constant that is added to the image and taken off by the network leaves an explanation as it is.

    Kindermans et al. 2017, https://arxiv.org/abs/1711.00867
    """

    shift: float = option(1.0, help="The constant, in the units of the network's input.")
    assumes = "The zero of the input means nothing."

    def rewritten(self, case: Case) -> tuple[FlatModel, Tensor]:
        return case.flat.prepend("netlens_shift", Shift(-self.shift)), case.x + self.shift


@register_metric
@dataclass(frozen=True)
class ImplementationInvariance(Invariance):
    """Whether the same function, written in another way, has the same explanation.

    The network gets three layers in front that change no number: x becomes (x, -x), a rectifier follows, and the parts
    are joined again, since x = relu(x) - relu(-x). With `rewriting="folded"` batch norm becomes a part of the
    convolution before it instead.

    Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365
    """

    rewriting: Literal["rectifiers", "folded"] = option("rectifiers", help="How the function is written anew.")
    assumes = "No pixel is exactly 0, where a rectifier has no gradient; and an explanation is about the function."

    def rewritten(self, case: Case) -> tuple[FlatModel, Tensor]:
        if self.rewriting == "folded":
            return folded(case.flat), case.x
        signs = torch.eye(case.x.shape[1]).to(case.x)
        signs = torch.cat([signs, -signs])[:, :, None, None]
        rectified = case.flat.prepend("netlens_join", pointwise(signs.transpose(0, 1)))
        rectified = rectified.prepend("netlens_rectify", nn.ReLU())
        return rectified.prepend("netlens_split", pointwise(signs)), case.x


def pointwise(weight: Tensor) -> nn.Conv2d:
    """A convolution of single pixels without a bias, with this weight (out, in, 1, 1)."""
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=False, dtype=weight.dtype, device=weight.device)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


class Shift(nn.Module):
    """Adds a constant."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x + self.by


@register_metric
@dataclass(frozen=True)
class Symmetry(Metric):
    """How far two pixels that play an equal part are from having equal relevance: |r - m(r)| / (2 |r|), Euclidean.

    m mirrors an image left to right. The network reads (x + m(x)) / 2, so that a pixel and its mirror image do the same
    for it, and the image is (x + m(x)) / 2, so that they are the same. r is the relevance. Less is better: it is 0 if r
    is its own mirror image, 1 if it is the opposite, and about 0.7 for noise around 0.

    Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365
    """

    family = "axioms"
    more_is_better = False
    bounds = (0, 1)
    needs = "method"
    assumes = "The method says something about a picture that looks like a kaleidoscope."

    def judge(self, explanation: Explanation) -> Tensor:
        case, method, mirror = explanation.case, explanation.method, Mirror()
        assert method is not None
        maps = relevance(method(case.flat.prepend("netlens_mirror", mirror), mirror(case.x), case.explained), case)
        apart, size = ((maps - maps.flip(2)).flatten(1), 2 * maps.flatten(1))
        share: Tensor = torch.linalg.vector_norm(apart, dim=1) / torch.linalg.vector_norm(size, dim=1)
        return share


class Mirror(nn.Module):
    """The mean of an image and its mirror image."""

    def forward(self, x: Tensor) -> Tensor:
        return (x + x.flip(3)) / 2


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

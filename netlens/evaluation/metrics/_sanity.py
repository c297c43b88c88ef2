"""Metrics of sanity: whether an explanation depends on the class and on what the network has learned."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from netlens.errors import NetLensWarning, NotApplicable
from netlens.evaluation._explanation import Explanation, relevance
from netlens.evaluation.metrics._metric import Metric, Needs, register_metric
from netlens.evaluation.metrics._ranks import alike
from netlens.flat import FlatModel
from netlens.objectives import logit
from netlens.options import option
from netlens.silence import silenced


@dataclass(frozen=True)
class Likeness(Metric):
    """Abstract: how much an explanation is like others that should differ: the rank correlation of sizes.

    It is the mean over the others. Less is better.
    """

    family = "sanity"
    more_is_better = False
    bounds = (-1, 1)
    needs: ClassVar[Needs | None] = "method"

    def judge(self, explanation: Explanation) -> Tensor:
        first, others = self.explanations(explanation)
        return torch.stack([alike(first, other) for other in others]).mean(0)

    @abstractmethod
    def explanations(self, explanation: Explanation) -> tuple[Tensor, list[Tensor]]:
        """(N, H, W) each: the explanation, and the others."""


@register_metric
@dataclass(frozen=True)
class RandomClass(Likeness):
    """How much an explanation is like that of another class, drawn at random.

    An explanation that is alike for all classes does not say why the network chose this one.

    Sixt et al. 2020, https://arxiv.org/abs/1912.09818
    """

    seed: int = option(0, least=0, help="Seed of the other class.")
    assumes = "Different classes have different reasons."

    def explanations(self, explanation: Explanation) -> tuple[Tensor, list[Tensor]]:
        case = explanation.case
        targets = case.explained.targets(case.flat, len(case))
        if targets is None:
            raise NotApplicable(f"RandomClass needs an explained class; {case.explained} has none.")
        classes = case.classes
        if classes < 2:
            raise NotApplicable(f"RandomClass needs another class; {case.flat.name} has one.")
        generator = torch.Generator().manual_seed(self.seed)
        steps = torch.randint(1, classes, (len(case),), generator=generator).tolist()
        others = [(target + step) % classes for target, step in zip(targets, steps, strict=True)]
        assert explanation.method is not None
        return explanation.maps, [relevance(explanation.method(case.flat, case.x, logit(others)), case)]


@register_metric
@dataclass(frozen=True)
class DataRandomization(Likeness):
    """How much an explanation is like that of the same network, trained on shuffled labels.

    An explanation that stays shows the picture, and not how the network tells classes apart. Two trainings differ in
    more than their labels, so beside it belongs the likeness to a network of another seed: `SeedAgreement`.

    Adebayo et al. 2018, https://arxiv.org/abs/1810.03292
    """

    needs = "shuffled"
    assumes = "A network that has learned shuffled labels by heart has other reasons."

    def explanations(self, explanation: Explanation) -> tuple[Tensor, list[Tensor]]:
        case = explanation.case
        assert case.shuffled is not None
        return explanation.maps, [of_random(explanation, case.shuffled, case.x)]


def of_random(explanation: Explanation, flat: FlatModel, x: Tensor) -> Tensor:
    """(N, H, W): what the method says about a network that has learned nothing of use."""
    assert explanation.method is not None
    with silenced(NetLensWarning):  # such a network may give nothing to see
        return relevance(explanation.method(flat, x, explanation.case.explained), explanation.case)

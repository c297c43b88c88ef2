"""Metrics of sanity: whether an explanation depends on the class and on what the network has learned."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.errors import NetLensWarning, NotApplicable
from netlens.evaluation._explanation import Explanation, relevance
from netlens.evaluation._randomized import randomize_
from netlens.evaluation.metrics._correlations import rank_correlation
from netlens.evaluation.metrics._metric import Metric, register_metric
from netlens.flat import FlatModel
from netlens.objectives import logit
from netlens.options import option
from netlens.silence import silenced


@register_metric
@dataclass(frozen=True)
class RandomClass(Metric):
    """How much an explanation is like that of another class, drawn at random: the rank correlation of their sizes.

    Less is better. An explanation that is alike for all classes does not say why the network chose this one.

    Sixt et al. 2020, https://arxiv.org/abs/1912.09818
    """

    seed: int = option(0, least=0, help="Seed of the other class.")
    family = "sanity"
    more_is_better = False
    bounds = (-1, 1)
    needs = "method"
    assumes = "Different classes have different reasons."

    def judge(self, explanation: Explanation) -> Tensor:
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
        other = relevance(explanation.method(case.flat, case.x, logit(others)), case)
        return alike(explanation.maps, other)


@register_metric
@dataclass(frozen=True)
class ParameterRandomization(Metric):
    """How much an explanation is like that of a network whose upper layers are random: the rank correlation of sizes.

    The parameters are replaced from the output downwards, more and more of them, and the correlation is the mean over
    these stages. Less is better. An explanation that stays does not show what the network has learned.

    Adebayo et al. 2018, https://arxiv.org/abs/1810.03292
    """

    stages: int = option(4, least=1, help="Number of stages; in the last one, all layers are random.")
    seed: int = option(0, least=0, help="Seed of the random weights.")
    family = "sanity"
    more_is_better = False
    bounds = (-1, 1)
    needs = "method"
    assumes = "A network with random weights has other reasons."

    def judge(self, explanation: Explanation) -> Tensor:
        case, method = explanation.case, explanation.method
        assert method is not None
        similarities = []
        for flat in self.randomized(case.flat):
            with silenced(NetLensWarning):  # a random network may give nothing to see
                similarities.append(alike(explanation.maps, relevance(method(flat, case.x, case.explained), case)))
        return torch.stack(similarities).mean(0)

    def randomized(self, flat: FlatModel) -> list[FlatModel]:
        """The network with random upper layers, a copy for each stage."""
        steps = [step.key for step in flat.program.steps if next(step.layer.parameters(), None) is not None]
        copies = []
        for stage in range(1, self.stages + 1):
            mine = copy.deepcopy(flat)
            upper = set(steps[len(steps) - round(len(steps) * stage / self.stages) :])
            for number, step in enumerate(mine.program.steps):
                if step.key in upper:
                    randomize_(step.layer, self.seed * len(flat.program.steps) + number)
            copies.append(mine)
        return copies


def alike(a: Tensor, b: Tensor) -> Tensor:
    """(N,): Spearman's rank correlation of the sizes of two explanations (N, H, W). Equal sizes share their mean rank.

    An explanation that is the same everywhere has nothing in common with another one, and is like one of its kind.
    """
    a, b = (maps.flatten(1).abs() for maps in (a, b))
    correlation = rank_correlation(a, b)
    constant = (a == a[:, :1]).all(1) & (b == b[:, :1]).all(1)
    return torch.where(constant, torch.ones_like(correlation), correlation.nan_to_num(0))

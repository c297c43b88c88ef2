"""Metrics of sanity that give layers random weights (MPRT and its repairs)."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from netlens.evaluation._explanation import Explanation
from netlens.evaluation._randomized import randomize_
from netlens.evaluation.metrics._metric import Metric, register_metric
from netlens.evaluation.metrics._sanity import Likeness, of_random
from netlens.flat import FlatModel
from netlens.options import option

_OTHER = "A network with random weights has other reasons."


@dataclass(frozen=True)
class Randomization(Likeness):
    """Abstract: the likeness to explanations of networks some of whose layers are random, the mean over stages.

    Less is better. An explanation that stays does not show what the network has learned.
    """

    stages: int = option(4, least=1, help="Number of stages; each adds or takes as many layers.")
    seed: int = option(0, least=0, help="Seed of the random weights.")
    assumes = _OTHER

    @abstractmethod
    def chosen(self, stage: int, layers: int) -> slice:
        """Which of the layers with weights, numbered from the input, are random in a stage, from 1 to `stages`."""

    def explanations(self, explanation: Explanation) -> tuple[Tensor, list[Tensor]]:
        x = explanation.case.x
        return explanation.maps, [of_random(explanation, flat, x) for flat in self.randomized(explanation.case.flat)]

    def randomized(self, flat: FlatModel) -> list[FlatModel]:
        """The network with random layers, a copy for each stage."""
        layers = len(_with_weights(flat))
        return [with_random(flat, self.chosen(stage, layers), self.seed) for stage in range(1, self.stages + 1)]

    def _share(self, stage: int, layers: int) -> int:
        """The number of layers of the first stages."""
        return round(layers * stage / self.stages)


@register_metric
@dataclass(frozen=True)
class ParameterRandomization(Randomization):
    """How much an explanation is like that of a network whose upper layers are random (cascading MPRT).

    The parameters are replaced from the output downwards, more and more of them.

    Adebayo et al. 2018, https://arxiv.org/abs/1810.03292
    """

    def chosen(self, stage: int, layers: int) -> slice:
        return slice(layers - self._share(stage, layers), layers)


@register_metric
@dataclass(frozen=True)
class IndependentRandomization(Randomization):
    """How much an explanation is like that of a network some of whose layers are random (independent MPRT).

    Each stage replaces a part of the layers and leaves all others as they were trained, so that it shows on which of
    them the explanation depends.

    Adebayo et al. 2018, https://arxiv.org/abs/1810.03292
    """

    def chosen(self, stage: int, layers: int) -> slice:
        return slice(self._share(stage - 1, layers), self._share(stage, layers))


@register_metric
@dataclass(frozen=True)
class SmoothRandomization(Randomization):
    """How much an explanation without its noise is like that of a network whose lower layers are random (sMPRT).

    Both are the mean over noisy images, since noise of the method itself makes any two explanations unlike. Layers are
    replaced from the input upwards, because a random upper layer leaves much of what the lower ones say.

    Hedström et al. 2024, https://arxiv.org/abs/2401.06465
    """

    samples: int = option(10, least=1, help="Number of noisy images for each image.")
    noise: float = option(0.1, least=0, help="Deviation of the noise, as a share of the range of each image.")

    def chosen(self, stage: int, layers: int) -> slice:
        return slice(0, self._share(stage, layers))

    def explanations(self, explanation: Explanation) -> tuple[Tensor, list[Tensor]]:
        flat = explanation.case.flat
        return self.smooth(explanation, flat), [self.smooth(explanation, one) for one in self.randomized(flat)]

    def smooth(self, explanation: Explanation, flat: FlatModel) -> Tensor:
        """(N, H, W): the mean over noisy images of the sizes of what the method says."""
        x, generator = explanation.case.x, torch.Generator().manual_seed(self.seed)
        deviation = self.noise * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
        total = torch.zeros_like(explanation.maps)
        for _ in range(self.samples):
            noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
            total += of_random(explanation, flat, x + deviation * noise).abs()
        return total / self.samples


@register_metric
@dataclass(frozen=True)
class EfficientRandomization(Metric):
    """How much more complex an explanation becomes when all weights are random, relative to what it was (eMPRT).

    With H the entropy of a histogram of the sizes of relevance, e the explanation and r that of the random network:
    (H(r) - H(e)) / H(e). More is better: an explanation that a random network changes into noise depends on what was
    learned. Nothing is compared pixel by pixel, and the method is asked once.

    Hedström et al. 2024, https://arxiv.org/abs/2401.06465
    """

    bins: int = option(100, least=2, help="Number of bins of the histogram, from the least to the largest size.")
    seed: int = option(0, least=0, help="Seed of the random weights.")
    family = "sanity"
    more_is_better = True
    bounds = (-1, inf)
    needs = "method"
    assumes = "The explanation of a random network is noise, which is more complex than that of a trained one."

    def judge(self, explanation: Explanation) -> Tensor:
        flat = with_random(explanation.case.flat, slice(None), self.seed)
        random = of_random(explanation, flat, explanation.case.x)
        before, after = (self.complexity(maps) for maps in (explanation.maps, random))
        return torch.where(before > 0, (after - before) / before, torch.full_like(before, torch.nan))

    def complexity(self, maps: Tensor) -> Tensor:
        """(N,): the entropy of the histogram of the sizes of relevance, in nats."""
        sizes = maps.flatten(1).abs()
        counts = torch.stack([row.histc(self.bins, float(row.min()), float(row.max())) for row in sizes])
        entropy: Tensor = torch.special.entr(counts / counts.sum(1, keepdim=True)).sum(1)
        return entropy


def with_random(flat: FlatModel, chosen: slice, seed: int) -> FlatModel:
    """A copy of a network, some of whose layers with weights are random. A layer has one draw for each seed."""
    copied = copy.deepcopy(flat)
    random = set(_with_weights(flat)[chosen])
    for number, step in enumerate(copied.program.steps):
        if step.key in random:
            randomize_(step.layer, seed * len(flat.program.steps) + number)
    return copied


def _with_weights(flat: FlatModel) -> list[str]:
    return [step.key for step in flat.program.steps if next(step.layer.parameters(), None) is not None]

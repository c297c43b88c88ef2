"""Schedules: the learning rate and the size of the pictures over the steps; and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.options import check, option

Rate = Callable[[int, int], float]
"""A function from (step, steps) to the factor of the optimizer's learning rate."""

Stop = Callable[[Tensor], Tensor]
"""A function from the history (steps so far, N) to a mask (N,) of the samples that are finished."""


def constant(step: int, steps: int) -> float:
    """The learning rate never changes."""
    return 1.0


@dataclass(frozen=True)
class Cosine:
    """The learning rate rises over the first steps. Then it falls along half a cosine."""

    warmup: float = option(0.0, least=0, most=1, help="The share of the steps in which the rate rises.")
    end: float = option(0.0, least=0, help="The factor of the rate at the end.")

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, step: int, steps: int) -> float:
        rising = self.warmup * steps
        if step < rising:
            return (step + 1) / (rising + 1)
        passed = (step - rising) / max(1.0, steps - rising)
        return self.end + (1 - self.end) * (1 + math.cos(math.pi * passed)) / 2


@dataclass(frozen=True)
class Steps:
    """The learning rate is multiplied by `factor` at several points of the run."""

    at: Sequence[float] = option((0.5, 0.75), help="The shares of the steps after which the rate changes.")
    factor: float = option(0.5, help="The factor of each change.")

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, step: int, steps: int) -> float:
        return self.factor ** sum(step >= share * steps for share in self.at)


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the steps, and the sizes of the pictures. Each size gets the same number of steps.

    Steps at small sizes are cheap. They decide where things are. The last size is that of the parameterization, which
    adds the detail.
    """

    rate: Rate = option(constant, help="A function from (step, steps) to the factor of the learning rate.")
    sizes: tuple[int | tuple[int, int], ...] = option((), least=1, help="Sizes before the last one, in pixels.")

    def __post_init__(self) -> None:
        check(self)

    def stage(self, step: int, steps: int) -> int:
        """The stage of the step with this index: an index into `sizes`. The last stage has the size of the param."""
        return min(step * (len(self.sizes) + 1) // max(1, steps), len(self.sizes))


@dataclass(frozen=True)
class Plateau:
    """A sample is finished when its objective hardly grows any more.

    The mean of the objective over the last `patience` steps is compared with the mean over the `patience` steps before
    them. Means are compared, because each step disturbs the picture in another way.
    """

    patience: int = option(64, least=1, help="Steps over which means are compared.")
    gain: float = option(0.01, help="The relative growth of the objective below which a sample is finished.")

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, history: Tensor) -> Tensor:
        if len(history) < 2 * self.patience:
            return torch.zeros(history.shape[1], dtype=torch.bool, device=history.device)
        earlier, recent = history[-2 * self.patience :].unflatten(0, (2, -1)).mean(1)
        done: Tensor = recent <= earlier + self.gain * earlier.abs()
        return done

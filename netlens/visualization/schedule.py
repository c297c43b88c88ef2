"""Schedules: how the learning rate and the size of the pictures change over the steps; and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.options import check, option

Rate = Callable[[int, int], float]
"""Takes (step, steps) and returns the factor of the optimizer's learning rate."""

Stop = Callable[[Tensor], Tensor]
"""Takes the history (steps so far, N) and returns which samples (N,) are done."""


def constant(step: int, steps: int) -> float:
    """Keep the learning rate."""
    return 1.0


@dataclass(frozen=True)
class Cosine:
    """The learning rate rises over the first steps, then falls along half a cosine."""

    warmup: float = option(0.0, least=0, most=1, help="The share of the steps in which the rate rises.")
    end: float = option(0.0, least=0, help="What the rate is multiplied by in the end.")

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
    """The learning rate is multiplied by `factor` at each of some shares of the steps."""

    at: Sequence[float] = option((0.5, 0.75), help="The shares of the steps at which the rate changes.")
    factor: float = option(0.5, help="What the rate is multiplied by each time.")

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, step: int, steps: int) -> float:
        return self.factor ** sum(step >= share * steps for share in self.at)


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the steps, and the sizes of the pictures; each size gets equally many steps.

    Small pictures are cheap and settle what is where; the param's own size then adds the detail.
    """

    rate: Rate = option(constant, help="Takes (step, steps) to what the learning rate is multiplied by.")
    sizes: tuple[int | tuple[int, int], ...] = option((), least=1, help="Sizes before the last one, in pixels.")

    def __post_init__(self) -> None:
        check(self)

    def stage(self, step: int, steps: int) -> int:
        """The stage of step `step` of `steps`: an index into `sizes`; the last stage has the size of the param."""
        return min(step * (len(self.sizes) + 1) // max(1, steps), len(self.sizes))


@dataclass(frozen=True)
class Plateau:
    """A sample is done when its mean over `patience` steps is hardly better than the mean over the steps before.

    Means over many steps are compared, because each step sees the picture disturbed in another way.
    """

    patience: int = option(64, least=1, help="Steps over which means are compared.")
    gain: float = option(0.01, help="The share of itself by which the objective must grow to go on.")

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, history: Tensor) -> Tensor:
        if len(history) < 2 * self.patience:
            return torch.zeros(history.shape[1], dtype=torch.bool, device=history.device)
        before, now = history[-2 * self.patience :].unflatten(0, (2, -1)).mean(1)
        done: Tensor = now <= before + self.gain * before.abs()
        return done

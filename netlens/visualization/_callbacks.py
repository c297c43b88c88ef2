"""Callbacks: objects that watch an optimization."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.options import checked
from netlens.results import State


@dataclass(frozen=True)
class Moment:
    """The state of an optimization between two steps. It is valid until the next step.

    Args:
        step: The number of finished steps.
        steps: The total number of steps.
        values: (N,), the objective of the disturbed pictures in the last finished step; None before the first step.
        draw: A function that returns the current pictures.
        capture: A function that returns the current state.
    """

    step: int
    steps: int
    values: Tensor | None
    draw: Callable[[], Tensor]
    capture: Callable[[], State]

    @property
    def images(self) -> Tensor:
        """(N, C, H, W) in [0, 1]: the current pictures, without disturbance."""
        with torch.no_grad():
            return self.draw()

    @property
    def state(self) -> State:
        """The state from which `render(..., resume=state)` continues."""
        return self.capture()


class Callback(ABC):  # noqa: B024 - none of its methods is a must
    """Abstract: an object that watches an optimization. A subclass overrides the events that it needs.

    An exception ends the optimization.
    """

    def on_start(self, moment: Moment) -> None:  # noqa: B027 - each is optional
        """Before the first step."""

    def on_step(self, moment: Moment) -> None:  # noqa: B027
        """After each step."""

    def on_end(self, moment: Moment) -> None:  # noqa: B027
        """After the last step."""


class Frames(Callback):
    """A callback that stores the first pictures, the last ones, and those after every `every` steps.

    `Render.save_gif` shows them.

    Args:
        every: The number of steps between two stored pictures, at least 1.
    """

    def __init__(self, every: int = 16) -> None:
        self.every = checked("Frames: every", every, int, least=1)
        self.images: list[Tensor] = []
        self.last = -1

    def on_start(self, moment: Moment) -> None:
        self.images, self.last = [], -1
        self._keep(moment)

    def on_step(self, moment: Moment) -> None:
        if moment.step % self.every == 0:
            self._keep(moment)

    def on_end(self, moment: Moment) -> None:
        if self.last != moment.step:
            self._keep(moment)

    def _keep(self, moment: Moment) -> None:
        self.images.append(moment.images.detach().float().cpu())
        self.last = moment.step

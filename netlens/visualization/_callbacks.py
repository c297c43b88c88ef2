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
    """An optimization between two of its steps. It is only true until the next one.

    step: how many steps are done. values: (N,), the objective in the last of them, of the disturbed pictures that it
    started from; None before the first. draw and capture: how its pictures and its state are made on demand.
    """

    step: int
    steps: int
    values: Tensor | None
    draw: Callable[[], Tensor]
    capture: Callable[[], State]

    @property
    def images(self) -> Tensor:
        """(N, C, H, W) in [0, 1]: the pictures as they are now, undisturbed."""
        with torch.no_grad():
            return self.draw()

    @property
    def state(self) -> State:
        """What it takes to go on from here, with `render(..., resume=state)`."""
        return self.capture()


class Callback(ABC):  # noqa: B024 - none of its methods is a must
    """Abstract: a subclass overrides the events that it needs. An exception ends the optimization."""

    def on_start(self, moment: Moment) -> None:  # noqa: B027 - each is optional
        """Before the first step."""

    def on_step(self, moment: Moment) -> None:  # noqa: B027
        """After each step."""

    def on_end(self, moment: Moment) -> None:  # noqa: B027
        """After the last step."""


class Frames(Callback):
    """Keeps the pictures of every `every` steps, and the first and last ones; `Render.save_gif` shows them."""

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

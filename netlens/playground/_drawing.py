"""Drawing: a picture that grows on the page, as far as it has grown, with its film."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from torch import Tensor

from netlens.playground._film import Film, pixels_of
from netlens.playground._wish import Wish
from netlens.results import Render, State
from netlens.visualization import Callback, Moment

PACE = 0.2  # seconds from each look at the picture to the next


class Rounds(NamedTuple):
    """A dream that is continued after its end dreams again on its result.

    Args:
        finished: The number of dreams before this one.
        base: The result of the last of them; None if this dream is the first.
        steps: The number of steps of all of them.
    """

    finished: int = 0
    base: Tensor | None = None
    steps: int = 0


_FIRST = Rounds()


@dataclass(frozen=True)
class Drawing:
    """A picture that is drawn, or that was, with all that is needed to save it and to go on with it.

    Args:
        key: The key of its run, under which the studio keeps it.
        wish: What is drawn.
        step: The number of finished steps.
        steps: The number of steps after which it is done.
        pixels: (h, w, 3), the picture as the page shows it.
        values: The objective after each step.
        film: Its frames.
        result: Gives the picture as a result, with its provenance. It is asked only when somebody saves it.
        state: The state from which it can be continued; None if it cannot.
        rounds: The dreams before it.
    """

    key: str
    wish: Wish
    step: int
    steps: int
    pixels: np.ndarray = field(repr=False)
    values: Tensor = field(repr=False)
    film: Film = field(repr=False)
    result: Callable[[], Render] = field(repr=False)
    state: State | None = field(default=None, repr=False)
    rounds: Rounds = field(default=_FIRST, repr=False)

    @property
    def finished(self) -> bool:
        """Whether all of its steps are done."""
        return self.step >= self.steps

    @cached_property
    def render(self) -> Render:
        """The picture as a result, which is made once."""
        return self.result()

    @property
    def nbytes(self) -> int:
        """The memory that it holds."""
        tensors = [] if self.state is None else list(self.state.packed()[0].values())
        # the result has the picture in full and its state once more
        of_state = 3 * sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        of_base = 0 if self.rounds.base is None else self.rounds.base.numel() * self.rounds.base.element_size()
        return self.pixels.nbytes + self.film.nbytes + of_state + of_base


class Growing(Callback):
    """A callback that shows a picture a few times a second while it grows, and takes the frames of its film.

    Args:
        key: The key of its run.
        wish: What is drawn.
        film: The frames so far, if the picture is continued.
        result: Gives the result of a state; see `Drawing.result`.
        show: Gets a drawing.
        rounds: The dreams before this run; its steps are added to theirs.
    """

    def __init__(
        self,
        key: str,
        wish: Wish,
        film: Film,
        result: Callable[[State], Render],
        show: Callable[[Drawing], None],
        rounds: Rounds = _FIRST,
    ) -> None:
        self.key, self.wish, self.film, self.result, self.show, self.rounds = key, wish, film, result, show, rounds
        self.shown = -math.inf

    def on_start(self, moment: Moment) -> None:
        self.on_step(moment)

    def on_step(self, moment: Moment) -> None:
        self._take(moment)
        if time.monotonic() - self.shown >= PACE:
            self.show(self.drawing(moment))
            self.shown = time.monotonic()  # after the look, so that steps get most of the time

    def drawing(self, moment: Moment) -> Drawing:
        """What there is at a moment."""
        state = moment.state
        return Drawing(
            self.key,
            self.wish,
            self.rounds.steps + moment.step,
            self.rounds.steps + moment.steps,
            pixels_of(moment.images),
            state.history[:, 0],
            self.film,
            lambda: self.result(state),
            state,
            self.rounds,
        )

    def _take(self, moment: Moment) -> None:
        step = self.rounds.steps + moment.step
        if self.film.wants(step):
            self.film = self.film.grown(step, moment.images)

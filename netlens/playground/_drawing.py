"""Drawing: a picture that grows on the page, as far as it has grown, with its film."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from netlens.playground._film import Film, pixels_of
from netlens.results import Render, State
from netlens.visualization import Callback, Moment

PACE = 0.2  # seconds from each look at the picture to the next


@dataclass(frozen=True)
class Drawing:
    """A picture that is drawn, or that was, with all that is needed to save it and to go on with it.

    Args:
        step: The number of finished steps.
        steps: The number of steps after which it is done.
        pixels: (h, w, 3), the picture as the page shows it.
        values: The objective after each step.
        film: Its frames.
        result: Gives the picture as a result, with its provenance. It is asked only when somebody saves it.
        state: The state from which it can be continued; None if it cannot.
        about: What else its tab keeps of it.
    """

    step: int
    steps: int
    pixels: np.ndarray = field(repr=False)
    values: Tensor = field(repr=False)
    film: Film = field(repr=False)
    result: Callable[[], Render] = field(repr=False)
    state: State | None = field(default=None, repr=False)
    about: Any = None

    @cached_property
    def render(self) -> Render:
        """The picture as a result, which is made once."""
        return self.result()

    @property
    def nbytes(self) -> int:
        """The memory that it holds."""
        tensors = [] if self.state is None else list(self.state.packed()[0].values())
        # the result has the picture in full and its state once more
        return self.film.nbytes + 3 * sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class Growing(Callback):
    """A callback that shows a picture a few times a second while it grows, and takes the frames of its film.

    Args:
        film: The frames so far, if the picture is continued.
        result: Gives the result of a state; see `Drawing.result`.
        show: Gets a drawing.
        before: The number of steps of earlier runs, to which the steps of this run are added.
        about: See `Drawing.about`.
    """

    def __init__(
        self,
        film: Film,
        result: Callable[[State], Render],
        show: Callable[[Drawing], None],
        before: int = 0,
        about: Any = None,
    ) -> None:
        self.film, self.result, self.show, self.before, self.about = film, result, show, before, about
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
            self.before + moment.step,
            self.before + moment.steps,
            pixels_of(moment.images),
            state.history[:, 0],
            self.film,
            lambda: self.result(state),
            state,
            self.about,
        )

    def _take(self, moment: Moment) -> None:
        step = self.before + moment.step
        if self.film.wants(step):
            self.film = self.film.grown(step, moment.images)

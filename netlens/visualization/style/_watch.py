"""Watching a style transfer while it runs: the picture so far, and each of its losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from netlens.results import Render
from netlens.visualization._callbacks import Callback, Moment
from netlens.visualization.style.task import Stage


def steps_at(k: int, steps: int, scales: int) -> int:
    """The iterations at the scale with the index `k`: those of all scales, divided as evenly as possible.

    >>> [steps_at(k, 200, 3) for k in range(3)]
    [67, 67, 66]
    """
    return steps // scales + (k < steps % scales)


@dataclass(frozen=True)
class Glance:
    """A style transfer between two steps. It is valid until the next step.

    Args:
        step: The number of finished iterations, those of earlier scales included.
        steps: The total number of iterations.
        scale: The index of the scale, from 0.
        scales: The number of scales.
        stage: The pictures and losses at this scale.
        moment: The state of the optimization at this scale.
    """

    step: int
    steps: int
    scale: int
    scales: int
    stage: Stage
    moment: Moment

    @property
    def images(self) -> Tensor:
        """(1, C, h, w) in [0, 1]: the picture so far, in the size of this scale and in the colors of the result."""
        return self.stage.task.in_colors(self.moment.images.float().cpu())

    def losses(self) -> dict[str, float]:
        """The losses of the picture so far by name, computed without transforms. It takes one run of the network."""
        return self.stage.values(self.moment.images.to(self.stage.content.dtype))

    def render(self, losses: Mapping[str, float]) -> Render:
        """The picture so far as a result, with its losses, to be kept if the transfer ends early."""
        more = {"losses": {name: {"end": loss} for name, loss in losses.items()}, "stopped_after": self.step}
        values = self.moment.values
        assert values is not None  # a glance comes after a step
        return Render(
            images=self.images,
            history=values[None].float().cpu(),
            seeds=(self.stage.task.options.seed,),
            provenance=self.stage.task.provenance(more),
        )


class Watching(Callback):
    """A callback that gives a function a glance after each step at one scale.

    Args:
        watch: The function.
        stage: The pictures and losses at this scale.
        steps: The total number of iterations.
        scale: The index of the scale, from 0.
        scales: The number of scales.
        before: The iterations that the earlier scales made; a target may end them before they make all of theirs.
    """

    def __init__(
        self, watch: Callable[[Glance], None], stage: Stage, steps: int, scale: int, scales: int, before: int = 0
    ) -> None:
        self.watch, self.stage, self.steps, self.scale, self.scales = watch, stage, steps, scale, scales
        self.before = self.iterations = before

    def on_step(self, moment: Moment) -> None:
        # a step of L-BFGS is several iterations
        here = round(steps_at(self.scale, self.steps, self.scales) * moment.step / moment.steps)
        self.iterations = self.before + here
        self.watch(Glance(self.iterations, self.steps, self.scale, self.scales, self.stage, moment))

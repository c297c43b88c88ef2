"""StyleTransfer: the content of one picture in the style of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from netlens.flat import FlatModel
from netlens.options import checked, known, options_of
from netlens.results import Render
from netlens.visualization.callbacks import Callback
from netlens.visualization.optvis import OptVis
from netlens.visualization.schedule import Stop
from netlens.visualization.style.choices import (
    optimizer_of,
    transforms_of,
)
from netlens.visualization.style.options import Region, StyleOptions
from netlens.visualization.style.task import Task


@dataclass(frozen=True, kw_only=True)
class StyleTransfer(StyleOptions):
    """The content of one picture in the style of others; called with the network and the pictures.

    Losses have units of their own, so that weights mean the same on every network: at each layer the style loss is 1 at
    the content picture, and the content loss 1 at a plain picture of its mean color.

    Gatys et al. 2016, https://arxiv.org/abs/1508.06576; regions, scales and colors: 2017,
    https://arxiv.org/abs/1611.07865
    """

    def __call__(
        self,
        flat: FlatModel,
        content: Any,
        styles: Any,
        regions: Region | Sequence[Region] | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
    ) -> Render:
        """Paint a content in the style of one picture or several.

        Args:
            flat: The network.
            content: A picture of any kind that `images.load` takes, or a tensor (C, H, W) in [0, 1].
            styles: One picture, or a list of pictures.
            regions: For each style, the part of the content that gets it, and the part of the style that shows it.
            callbacks: Watch the optimization.
            progress: Whether to show progress in a terminal.

        Returns:
            The picture. The options of its provenance hold the losses of the finished picture, undisturbed.

        Raises:
            NotApplicable: No layer of the network has maps over the picture.
        """
        checked("the network", flat, FlatModel, hint="make it by FlatModel.from_nn_Module")
        task = Task.of(self, flat, content, styles, regions)
        stop = self.stop if self.target is None else Below(self.target, self.stop)
        renders: list[Render] = []
        for k, factor in enumerate(task.factors):
            stage = task.at(factor)
            steps = self.steps // len(task.factors) + (k < self.steps % len(task.factors))
            make, count = optimizer_of(self.optimizer, self.lr, max(1, steps))
            start = stage.start(renders[-1].images.double() if renders else None)
            optvis = OptVis(flat, -stage.objective, transforms_of(self.transforms))
            # gradients that are redirected are no true ones, and no picture that starts at another one is dead
            renders.append(
                optvis.render(start, count, make, redirect=0, stop=stop, callbacks=callbacks, progress=progress)
            )
        return task.result(stage, renders)


@dataclass(frozen=True)
class Below:
    """A sample is done once its loss is below `loss`, or once another rule says so."""

    loss: float
    other: Stop | None = None

    def __call__(self, history: Tensor) -> Tensor:
        done = -history[-1] < self.loss
        return done if self.other is None else done | self.other(history).to(done.device)


def stylize(
    flat: FlatModel,
    content: Any,
    styles: Any,
    regions: Region | Sequence[Region] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
    **options: Any,
) -> Render:
    """Paint a content in the style of one picture or several: `StyleTransfer(**options)(flat, content, styles, ...)`.

    Args:
        flat, content, styles, regions, callbacks, progress: As for a call of `StyleTransfer`.
        options: Those of `StyleTransfer`.
    """
    known("stylize", options, [one.name for one in options_of(StyleTransfer)])
    return StyleTransfer(**options)(flat, content, styles, regions, callbacks, progress)

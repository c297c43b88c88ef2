"""StyleTransfer: the content of one picture in the style of others."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from netlens.errors import NetLensWarning
from netlens.flat import FlatModel
from netlens.options import check_names, checked, options_of
from netlens.results import Render
from netlens.visualization._callbacks import Callback
from netlens.visualization._optvis import OptVis
from netlens.visualization._schedule import Stop
from netlens.visualization.style._choices import optimizer_of, transforms_of
from netlens.visualization.style._options import Region, StyleOptions
from netlens.visualization.style._watch import Glance, Watching, steps_at
from netlens.visualization.style.task import FLAT, Task


@dataclass(frozen=True, kw_only=True)
class StyleTransfer(StyleOptions):
    """The content of one picture in the style of others. Call it with the network and the pictures.

    The losses are normalized, so that weights have the same effect on every network. In each layer, the style loss is 1
    for the content picture, and the content loss is 1 for a picture that has the mean color of the content everywhere.

    Example:
        >>> import torch
        >>> from netlens.zoo import open_network
        >>> content, style = torch.rand(3, 64, 64), torch.rand(3, 64, 64)
        >>> transfer = StyleTransfer(size=64, steps=2, scales=1)
        >>> transfer(open_network(), content, style, progress=False).images.shape
        torch.Size([1, 3, 64, 64])

    Gatys et al. 2016, https://arxiv.org/abs/1508.06576; Gatys et al. 2017, https://arxiv.org/abs/1611.07865 (regions,
    scales, colors)
    """

    def __call__(
        self,
        flat: FlatModel,
        content: Any,
        styles: Any,
        regions: Region | Sequence[Region] | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
        watch: Callable[[Glance], None] | None = None,
    ) -> Render:
        """Paint a content in the style of one picture or several pictures.

        Args:
            flat: The network.
            content: A source of `images.load`, or a tensor (C, H, W) in [0, 1].
            styles: One picture, or a list of pictures.
            regions: A pair of masks for each style: the part of the content that gets the style, and the part of the
                style picture that shows it. A mask is (H, W), or a picture; None for the whole picture.
            callbacks: Objects that watch the optimization.
            progress: Whether a terminal shows the progress.
            watch: A function that gets a look at the picture and its losses after each step.

        Returns:
            The picture. The options of its provenance hold the losses of the content and of this picture, both computed
            without transforms.

        Raises:
            NetLensError: An argument is wrong.
            NotApplicable: No layer of the network has maps over the picture.
        """
        checked("the network", flat, FlatModel, hint="make it by FlatModel.from_nn_Module")
        task = Task.of(self, flat, content, styles, regions)
        if task.is_flat:
            warnings.warn(FLAT, NetLensWarning, stacklevel=2)
        stop = self.stop if self.target is None else Below(self.target, self.stop)
        renders: list[Render] = []
        iterations = 0  # of all scales so far, for those who watch
        for k, factor in enumerate(task.factors):
            stage = task.stage(factor)
            make, count = optimizer_of(self.optimizer, self.lr, max(1, steps_at(k, self.steps, len(task.factors))))
            start = stage.start(renders[-1].images.to(stage.content) if renders else None)
            optvis = OptVis(flat, -stage.objective, transforms_of(self.transforms), self.tile)
            # redirected gradients are not true ones; they are not needed, because a picture of the content is not dead
            watching = () if watch is None else (Watching(watch, stage, self.steps, k, len(task.factors), iterations),)
            render = optvis.render(
                start, count, make, redirect=0, stop=stop, callbacks=(*callbacks, *watching), progress=progress
            )
            iterations = watching[0].iterations if watching else 0
            renders.append(replace(render, state=None))  # a style has no state, which would fill the memory
        return task.result(stage, renders)


@dataclass(frozen=True)
class Below:
    """A sample is finished when its loss is below `loss`, or when another rule says so.

    Args:
        loss: The loss.
        other: The other rule; None if there is none.
    """

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
    watch: Callable[[Glance], None] | None = None,
    **options: Any,
) -> Render:
    """Paint a content in the style of one picture or several: `StyleTransfer(**options)(flat, content, styles, ...)`.

    Args:
        flat, content, styles, regions, callbacks, progress, watch: As for a call of `StyleTransfer`.
        options: Those of `StyleTransfer`.

    Raises:
        NetLensError: An argument or an option is wrong.
        NotApplicable: No layer of the network has maps over the picture.

    Example:
        >>> from netlens import open_network
        >>> from netlens.world.scene import scene
        >>> small = {"size": 64, "steps": 2, "scales": 1, "progress": False}
        >>> stylize(open_network(), scene(5).image, scene(6).image, **small).images.shape
        torch.Size([1, 3, 64, 64])
    """
    check_names("stylize", options, [o.name for o in options_of(StyleTransfer)])
    return StyleTransfer(**options)(flat, content, styles, regions, callbacks, progress, watch)

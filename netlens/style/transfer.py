"""StyleTransfer: what one picture shows, in the manner of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import Statistic
from netlens.results import Render
from netlens.style.checks import check
from netlens.style.choices import Layers, check_names, optimizer_of, transforms_of
from netlens.style.task import Task
from netlens.visualization import OptVis
from netlens.visualization.ascent import MakeOptimizer
from netlens.visualization.callbacks import Callback
from netlens.visualization.params.invertible import Invertible
from netlens.visualization.schedule import Stop
from netlens.visualization.transforms import Transform

Region = tuple[Any, Any]
"""A mask of the content and one of the style: (H, W) weights or pictures, of any size; None for all of it."""


@dataclass(frozen=True, kw_only=True)
class StyleTransfer:
    """The content of one picture in the style of others; called with the network and the pictures.

    Losses have units of their own, so that weights mean the same on every network: at each layer the style loss is 1 at
    the content picture, and the content loss 1 at a plain picture of its mean color.

    content_layers, style_layers: names, or a mapping to weights; None: by depth, see `default_layers`.
    statistic: what style is: "gram", "mean_std", "sliced_wasserstein", "histogram", "contextual", or a `Statistic`.
    loss: "root", by which nearly reached styles still come nearer, or "squared", the paper's.
    content_weight, style_weight, tv_weight: of the losses, and of the total variation of the picture in [0, 1].
    style_weights: what each of several styles counts for.
    optimizer: "lbfgs", "adam" or whatever `OptVis.render` takes; lr: its learning rate, None for its usual one.
    steps: iterations in all, shared between the scales. stop: see `OptVis.render`.
    target: ends each scale once the sum of the weighed losses is below it.
    start: "content", "style", "noise" or a picture. param: "fourier", "pixel", "pyramid", or one with its options.
    transforms: "none", "jitter", "standard", or a `Transform`: disturbances that the style has to survive.
    size: the longer side, or (height, width); None for that of the content. style_scale: how large the style is looked
    at, relative to the content: below 1 its strokes become finer. scales: of how many sizes, each half of the next, the
    picture is made, those with a side below 32 pixels left out; strokes beyond a network's view need the small ones.
    color: whose colors: the "style"'s; or the content's by "luminance" (its chroma is kept exactly), by "match" (mean
    and covariance of the style's colors) or by "histogram".

    Gatys et al. 2016, https://arxiv.org/abs/1508.06576; regions, scales and colors: 2017,
    https://arxiv.org/abs/1611.07865
    """

    content_layers: Layers | None = None
    style_layers: Layers | None = None
    statistic: str | Statistic = "gram"
    loss: str = "root"
    content_weight: float = 0.5
    style_weight: float = 1.0
    tv_weight: float = 2.0
    style_weights: Sequence[float] | None = None
    optimizer: str | MakeOptimizer = "adam"
    lr: float | None = None
    steps: int = 200
    stop: Stop | None = None
    target: float | None = None
    start: Any = "content"
    param: str | Invertible | type[Invertible] = "fourier"
    transforms: str | Transform = "jitter"
    size: int | tuple[int, int] | None = 512
    style_scale: float = 1.0
    scales: int = 2
    color: str = "style"
    seed: int = 0

    def __post_init__(self) -> None:
        check(self)

    def __call__(
        self,
        flat: FlatModel,
        content: Any,
        styles: Any,
        regions: Region | Sequence[Region] | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
    ) -> Render:
        """Pictures of any kind that `images.load` takes, or tensors (C, H, W) in [0, 1]; one style, or several.

        regions: for each style the part of the content that gets it and the part of the style that shows it.
        The losses of the finished picture, undisturbed, are among the options of the provenance.
        """
        if not isinstance(flat, FlatModel):
            kind = type(flat).__name__
            raise NetLensError(f"a style transfer takes a FlatModel, made by FlatModel.from_nn_Module, not a {kind}.")
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
    """Done is what is lost less than `loss` of, or what another rule says."""

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
    """The content in the style of one picture or several; `options` are those of `StyleTransfer`."""
    check_names(options, [field.name for field in fields(StyleTransfer)], "stylize")
    return StyleTransfer(**options)(flat, content, styles, regions, callbacks, progress)

"""StyleTransfer: what one picture shows, in the manner of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.objectives import Statistic
from netlens.options import check, checked, known, option, options_of
from netlens.results import Render
from netlens.style.choices import OPTIMIZERS, PARAMS, STATISTICS, TRANSFORMS, Layers, optimizer_of, transforms_of
from netlens.style.color import COLORS
from netlens.style.losses import LOSSES
from netlens.style.task import Task
from netlens.visualization.ascent import MakeOptimizer
from netlens.visualization.callbacks import Callback
from netlens.visualization.optvis import MOST_STEPS, OptVis
from netlens.visualization.params.invertible import Invertible
from netlens.visualization.schedule import Stop
from netlens.visualization.transforms import Transform

Region = tuple[Any, Any]
"""A mask of the content and one of the style: (H, W) weights or pictures, of any size; None for all of it."""

HEAVIEST = 10**12  # a weight beyond it leaves nothing of the other losses


@dataclass(frozen=True, kw_only=True)
class StyleTransfer:
    """The content of one picture in the style of others; called with the network and the pictures.

    Losses have units of their own, so that weights mean the same on every network: at each layer the style loss is 1 at
    the content picture, and the content loss 1 at a plain picture of its mean color.

    Gatys et al. 2016, https://arxiv.org/abs/1508.06576; regions, scales and colors: 2017,
    https://arxiv.org/abs/1611.07865
    """

    content_layers: Layers | None = option(
        None, help="Layers that keep the content, by name, or with weights; by default by depth, see `default_layers`."
    )
    style_layers: Layers | None = option(
        None, help="Layers that show the style, by name, or with weights; by default one for each scale of the network."
    )
    statistic: str | Statistic = option("gram", choices=STATISTICS, help="What the style of a layer is.")
    loss: str = option(
        "root",
        choices=LOSSES,
        help="With root, styles that are nearly reached still come nearer; squared is the paper's.",
    )
    content_weight: float = option(0.5, least=0, most=HEAVIEST, help="Weight of the content.")
    style_weight: float = option(1.0, least=0, most=HEAVIEST, help="Weight of the style.")
    tv_weight: float = option(2.0, least=0, most=HEAVIEST, help="Weight of the total variation of the picture.")
    style_weights: Sequence[float] | None = option(None, least=0, help="What each of several styles counts for.")
    optimizer: str | MakeOptimizer = option("adam", choices=OPTIMIZERS, help="The optimizer.")
    lr: float | None = option(
        None, above=0, most=1_000_000, help="Learning rate of the optimizer; by default its usual one."
    )
    steps: int = option(200, least=1, most=MOST_STEPS, help="Iterations, shared between the scales.")
    stop: Stop | None = option(None, help="Says which samples are done; see `OptVis.render`.")
    target: float | None = option(None, help="Each scale ends once the weighed losses sum to less than this.")
    start: Any = option("content", help="Where it starts: content, style, noise, or a picture.")
    param: str | Invertible | type[Invertible] = option("fourier", choices=PARAMS, help="What makes the picture.")
    transforms: str | Transform = option(
        "jitter", choices=TRANSFORMS, help="Disturbances that the style has to survive."
    )
    size: int | tuple[int, int] | None = option(
        512, least=1, help="The longer side in pixels, or height and width; none for that of the content."
    )
    style_scale: float = option(
        1.0, above=0, help="Size at which the style is looked at, relative to the content; below 1, strokes are finer."
    )
    scales: int = option(
        2, least=1, most=16, help="Number of sizes, each half of the next; sides below 32 pixels are left out."
    )
    color: str = option(
        "style", choices=COLORS, help="Whose colors: the style's; or the content's, by one of three ways."
    )
    seed: int = option(0, least=0, help="Seed of noise and disturbances.")

    def __post_init__(self) -> None:
        check(self)
        if not self.content_weight and not self.style_weight:
            raise NetLensError(
                "content_weight and style_weight are both 0; give one of them at least a weight above 0."
            )
        for name in ("content_layers", "style_layers"):
            _check_layers(name, getattr(self, name))

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
    """The content in the style of one picture or several; `options` are those of `StyleTransfer`."""
    known("stylize", options, [one.name for one in options_of(StyleTransfer)])
    return StyleTransfer(**options)(flat, content, styles, regions, callbacks, progress)


def _check_layers(name: str, layers: Any) -> None:
    """Raise for a choice of layers that names none, or gives none a weight."""
    if isinstance(layers, (Mapping, tuple)) and not layers:
        raise NetLensError(f"StyleTransfer: {name} names no layer; name at least one, or leave it out.")
    if isinstance(layers, Mapping):
        for layer, weight in layers.items():
            checked(f"StyleTransfer: the weight that {name} gives {layer!r}", weight, float, least=0)
        if not any(layers.values()):
            raise NetLensError(f"StyleTransfer: {name} gives all layers weight 0; name at least one that counts.")

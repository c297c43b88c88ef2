"""The options of a style transfer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from netlens.errors import NetLensError
from netlens.objectives import Statistic
from netlens.options import check, checked, option
from netlens.visualization._ascent import MakeOptimizer
from netlens.visualization._optvis import MOST_STEPS
from netlens.visualization._schedule import Stop
from netlens.visualization._tiles import LARGEST, TILE
from netlens.visualization.params import Invertible
from netlens.visualization.style._choices import OPTIMIZERS, PARAMS, STATISTICS, TRANSFORMS, Layers
from netlens.visualization.style._losses import LOSSES
from netlens.visualization.style.color import COLORS
from netlens.visualization.transforms import Transform

Region = tuple[Any, Any]
"""A mask of the content and a mask of the style: weights (H, W) or pictures of any size; None for the whole picture."""

HEAVIEST = 10**12  # with a larger weight, the other losses would be lost in rounding


@dataclass(frozen=True, kw_only=True)
class StyleOptions:
    """Abstract: the options of a style transfer."""

    content_layers: Layers | None = option(
        None, help="Layers for the content, by name, or with weights; by default see `default_layers`."
    )
    style_layers: Layers | None = option(
        None, help="Layers for the style, by name, or with weights; by default one for each scale of the network."
    )
    statistic: str | Statistic = option("gram", choices=STATISTICS, help="Statistic that describes a style.")
    loss: str = option(
        "root",
        choices=LOSSES,
        help="Root also reduces small distances; squared is the loss of the paper.",
    )
    content_weight: float = option(0.5, least=0, most=HEAVIEST, help="Weight of the content.")
    style_weight: float = option(1.0, least=0, most=HEAVIEST, help="Weight of the style.")
    tv_weight: float = option(2.0, least=0, most=HEAVIEST, help="Weight of the total variation of the picture.")
    style_weights: Sequence[float] | None = option(None, least=0, help="Weight of each of several styles.")
    optimizer: str | MakeOptimizer = option("adam", choices=OPTIMIZERS, help="The optimizer.")
    lr: float | None = option(
        None, above=0, most=1_000_000, help="Learning rate; by default 0.05 for adam, and 1 for lbfgs."
    )
    steps: int = option(200, least=1, most=MOST_STEPS, help="Total number of iterations of all scales.")
    stop: Stop | None = option(None, help="Function that says which samples are finished; see `OptVis.render`.")
    target: float | None = option(None, help="Each scale ends when the sum of the weighted losses is below this.")
    start: Any = option("content", help="The first picture: content, style, noise, or a picture.")
    param: str | Invertible | type[Invertible] = option(
        "fourier", choices=PARAMS, help="The parameterization of the picture."
    )
    transforms: str | Transform = option("jitter", choices=TRANSFORMS, help="Disturbances of the picture.")
    size: int | tuple[int, int] | None = option(
        512, least=1, help="The longer side in pixels, or height and width; none for that of the content."
    )
    style_scale: float = option(
        1.0, above=0, help="Size of the style picture relative to the content; below 1, strokes are finer."
    )
    scales: int = option(
        2, least=1, most=16, help="Number of sizes, each half of the next; sides below 32 pixels are left out."
    )
    tile: int | None = option(None, least=32, most=LARGEST, help=TILE)
    color: str = option("style", choices=COLORS, help="Colors of the style; or of the content, in one of three ways.")
    seed: int = option(0, least=0, help="Seed of noise and disturbances.")

    def __post_init__(self) -> None:
        check(self)
        if not self.content_weight and not self.style_weight:
            raise NetLensError("content_weight and style_weight are both 0; at least one of them must be above 0.")
        for name in ("content_layers", "style_layers"):
            _check_layers(name, getattr(self, name))


def _check_layers(name: str, layers: Any) -> None:
    """Raise if a choice of layers is empty, or if all weights are 0."""
    if isinstance(layers, (Mapping, tuple)) and not layers:
        raise NetLensError(f"StyleTransfer: {name} names no layer; name at least one, or leave it out.")
    if isinstance(layers, Mapping):
        for layer, weight in layers.items():
            checked(f"StyleTransfer: the weight that {name} gives {layer!r}", weight, float, least=0)
        if not any(layers.values()):
            raise NetLensError(f"StyleTransfer: {name} gives all layers the weight 0; at least one must be above 0.")

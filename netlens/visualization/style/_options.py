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
from netlens.visualization.params import Invertible
from netlens.visualization.style._choices import OPTIMIZERS, PARAMS, STATISTICS, TRANSFORMS, Layers
from netlens.visualization.style._losses import LOSSES
from netlens.visualization.style.color import COLORS
from netlens.visualization.transforms import Transform

Region = tuple[Any, Any]
"""A mask of the content and one of the style: (H, W) weights or pictures, of any size; None for all of it."""

HEAVIEST = 10**12  # a weight beyond it leaves nothing of the other losses


@dataclass(frozen=True, kw_only=True)
class StyleOptions:
    """Abstract: what a style transfer may be given."""

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


def _check_layers(name: str, layers: Any) -> None:
    """Raise for a choice of layers that names none, or gives none a weight."""
    if isinstance(layers, (Mapping, tuple)) and not layers:
        raise NetLensError(f"StyleTransfer: {name} names no layer; name at least one, or leave it out.")
    if isinstance(layers, Mapping):
        for layer, weight in layers.items():
            checked(f"StyleTransfer: the weight that {name} gives {layer!r}", weight, float, least=0)
        if not any(layers.values()):
            raise NetLensError(f"StyleTransfer: {name} gives all layers weight 0; name at least one that counts.")

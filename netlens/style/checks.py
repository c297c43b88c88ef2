"""What the options of a style transfer may be, told before anybody waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

from netlens.errors import NetLensError
from netlens.style.color import COLORS
from netlens.style.losses import LOSSES
from netlens.visualization.options import MOST_STEPS, number, typed, whole

if TYPE_CHECKING:
    from netlens.style.transfer import StyleTransfer


def check(options: StyleTransfer) -> None:
    """Raise for an option that no picture could be made with, whatever the network and the pictures are."""
    typed(options)
    for name, known in (("color", COLORS), ("loss", LOSSES)):
        value = getattr(options, name)
        if value not in known:
            raise NetLensError(f"{name} {value!r} is unknown; there are {', '.join(known)}.")
    for name, least, most in (("steps", 1, MOST_STEPS), ("scales", 1, 16), ("seed", 0, None)):
        whole(name, getattr(options, name), least, most)
    for name in ("content_weight", "style_weight", "tv_weight"):
        number(name, getattr(options, name), 0, 1e12)
    if not options.content_weight and not options.style_weight:
        raise NetLensError("content_weight and style_weight are both 0; give one of them at least a weight above 0.")
    for name in ("style_scale", "lr"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            raise NetLensError(f"{name} is a finite number above 0, not {value!r}.")
    if options.lr is not None:
        number("lr", options.lr, 0, 1e6)  # an optimizer could not hold what is much larger
    for name in ("content_layers", "style_layers"):
        _check_layers(name, getattr(options, name))
    _check_size(options.size)


def _check_layers(name: str, layers: Any) -> None:
    if layers is None:
        return
    named = list(layers) if isinstance(layers, (Mapping, Sequence)) and not isinstance(layers, str) else [layers]
    if not named:
        raise NetLensError(f"{name} names no layer; name one at least, or leave it out.")
    for layer in named:
        if not isinstance(layer, (str, type)) and not _whole(layer):
            raise NetLensError(f"{name} are names of layers, or a mapping from names to weights, not {layers!r}.")
    for layer, weight in layers.items() if isinstance(layers, Mapping) else ():
        number(f"the weight that {name} gives {layer!r}", weight, 0)
    if isinstance(layers, Mapping) and not any(layers.values()):
        raise NetLensError(f"{name} gives all layers weight 0; name one at least that counts.")


def _check_size(size: Any) -> None:
    sides = size if isinstance(size, (tuple, list)) and len(size) == 2 else (size,)
    if size is not None and not all(_whole(side) and side >= 1 for side in sides):
        raise NetLensError(f"size is the longer side in pixels or (height, width), at least 1, not {size!r}.")


def _whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)

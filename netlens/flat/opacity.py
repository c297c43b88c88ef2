"""What a person should know about the parts of a network that stay whole: how much they hold, and why."""

from __future__ import annotations

import re
from collections.abc import Collection

from torch import nn

from netlens.flat._unrolled import Unrolled
from netlens.flat.layers import Opaque
from netlens.flat.operations import innermost

_FOLDERS = re.compile(r"\((?:[^()`]*[/\\])(?=[^/\\`]*:\d+: )")  # a reason names the line by the whole path of its file


def about_opaque(flat: Unrolled, cannot: str, between: Collection[str] | None = None) -> str:
    """A sentence with a space before it, for the end of a message. It is empty if every part is unrolled.

    Args:
        flat: The flat model.
        cannot: What is impossible inside such a part, such as "no rule reaches them".
        between: The keys of the layers that matter; None for all.

    Example:
        >>> from netlens.flat import FlatModel
        >>> class Asks(nn.Sequential):
        ...     def forward(self, x):
        ...         return super().forward(x) if x.sum() > 0 else x
        >>> flat = FlatModel.from_nn_Module(nn.Sequential(nn.Linear(2, 2), Asks(nn.Linear(2, 2), nn.ReLU())))
        >>> about_opaque(flat, "no rule reaches them").split(":")[0]
        " 2 of 3 layers are inside '1', which could not be unrolled"
    """
    parts = {key: len(inner_layers(flat.layers[key])) for key in flat.opaque if between is None or key in between}
    if not parts:
        return ""
    inside = sum(parts.values())
    total = len(flat.layers) + sum(len(inner_layers(flat.layers[key])) - 1 for key in flat.opaque)
    largest = max(parts, key=lambda key: parts[key])
    others = f" and {len(parts) - 1} other part{'s' if len(parts) > 2 else ''}" if len(parts) > 1 else ""
    are = "is" if inside == 1 else "are"
    why = _FOLDERS.sub("(", flat.opaque[largest])
    return (
        f" {inside} of {total} layers {are} inside {largest!r}{others}, which could not be unrolled: {why}; {cannot}."
    )


def inner_layers(layer: nn.Module) -> list[nn.Module]:
    """The layers of torch, or of the user, inside an opaque layer: its modules without children."""
    inner = innermost(layer)
    module = inner.module if isinstance(inner, Opaque) else inner
    return [part for part in module.modules() if next(part.children(), None) is None]

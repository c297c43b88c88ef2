"""What to call a layer in a caption."""

from __future__ import annotations

from typing import Any

from netlens.flat import FlatModel


def layer_caption(flat: FlatModel, name: Any) -> str:
    """Return what a caption calls a layer: the name as given if it is no pattern, otherwise the layer's key."""
    return name if isinstance(name, str) and not set(name) & set("*?[") else flat.key(name)

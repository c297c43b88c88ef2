"""The name of a layer in a caption."""

from __future__ import annotations

from typing import Any

from netlens.flat import FlatModel


def layer_caption(flat: FlatModel, name: Any) -> str:
    """The name of a layer in a caption: `name` if it is a string without wildcards, else the key of the layer."""
    return name if isinstance(name, str) and not set(name) & set("*?[") else flat.key(name)

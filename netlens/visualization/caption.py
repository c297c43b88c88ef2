"""What to call a layer in a caption."""

from __future__ import annotations

from typing import Any

from netlens.flat import FlatModel


def called(flat: FlatModel, name: Any) -> str:
    """What to call a layer in a caption: its name, if that names one layer only by letters; otherwise its key."""
    return name if isinstance(name, str) and not set(name) & set("*?[") else flat.key(name)

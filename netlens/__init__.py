"""netlens explains vision networks: flat named layers, recorded activations, attribution and pictures."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public names and where they live; loaded at first use, so that a part that is not used costs nothing
_PUBLIC = {
    "FlatModel": "netlens.flat",
    "Hooks": "netlens.flat",
    "NetLens": "netlens.lens",
    "open_network": "netlens.zoo",
    "attribution": "netlens.attribution",
    "objectives": "netlens.objectives",
    "images": "netlens.images",
    "visualization": "netlens.visualization",
}

__all__ = ["FlatModel", "Hooks", "NetLens", "attribution", "images", "objectives", "open_network", "visualization"]

if TYPE_CHECKING:
    from netlens import attribution, images, objectives, visualization
    from netlens.flat import FlatModel, Hooks
    from netlens.lens import NetLens
    from netlens.zoo import open_network


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'netlens' has no attribute {name!r}")
    module = importlib.import_module(_PUBLIC[name])
    found = module if module.__name__ == f"netlens.{name}" else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]

"""netlens explains vision networks: flat named layers, recorded activations, attribution and pictures."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netlens.version import __version__ as __version__


class _CheckoutFinder:
    """Finds `netlens.adapters` in a checkout that is not installed: there it is the folder `adapters/` beside netlens.

    An installed netlens holds the folder itself. This finder comes last, so it answers only if no other one does.
    """

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != "netlens.adapters":
            return None
        root = Path(__file__).parents[1]
        setup, folder = root / "setup.py", root / "adapters"
        # the project's own map of packages names the folder; any other folder beside netlens belongs to somebody else
        if not (setup.is_file() and '"netlens.adapters": "adapters"' in setup.read_text(encoding="utf-8")):
            return None
        places = [str(folder)]
        return importlib.util.spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=places)


sys.meta_path.append(_CheckoutFinder)

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
    value = module if module.__name__ == f"netlens.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]

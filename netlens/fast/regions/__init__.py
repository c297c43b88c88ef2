"""Regions: if only a window of the input changes, only the values that depend on the window are computed again."""

from netlens.fast.regions._incremental import Incremental, Work
from netlens.fast.regions._patch import Patch

__all__ = ["Incremental", "Patch", "Work"]

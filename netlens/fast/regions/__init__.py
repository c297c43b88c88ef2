"""Regions: after a change in a window of the input, only the values that the window can reach are computed again."""

from netlens.fast.regions._incremental import Incremental, Work
from netlens.fast.regions._patch import Patch

__all__ = ["Incremental", "Patch", "Work"]

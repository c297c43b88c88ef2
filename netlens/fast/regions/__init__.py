"""Regions: when a window of the input changes, only what that window can have changed is computed again, exactly."""

from netlens.fast.regions.incremental import Incremental, Work
from netlens.fast.regions.patch import Patch

__all__ = ["Incremental", "Patch", "Work"]

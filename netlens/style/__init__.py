"""Style transfer: what one picture shows, in the manner of others."""

from netlens.style.choices import OPTIMISERS, PARAMS, STATISTICS, TRANSFORMS
from netlens.style.layers import default_layers
from netlens.style.transfer import Below, Region, StyleTransfer

__all__ = [
    "OPTIMISERS",
    "PARAMS",
    "STATISTICS",
    "TRANSFORMS",
    "Below",
    "Region",
    "StyleTransfer",
    "default_layers",
]

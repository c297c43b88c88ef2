"""Style transfer: what one picture shows, in the manner of others."""

from netlens.style.batch import Batch, Job, Outcome
from netlens.style.choices import OPTIMIZERS, PARAMS, STATISTICS, TRANSFORMS
from netlens.style.contact import contact_sheet
from netlens.style.layers import default_layers
from netlens.style.settings import as_settings, from_settings
from netlens.style.transfer import Below, Region, StyleTransfer, stylize

__all__ = [
    "OPTIMIZERS",
    "PARAMS",
    "STATISTICS",
    "TRANSFORMS",
    "Batch",
    "Below",
    "Job",
    "Outcome",
    "Region",
    "StyleTransfer",
    "as_settings",
    "contact_sheet",
    "default_layers",
    "from_settings",
    "stylize",
]

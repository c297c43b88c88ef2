"""Style transfer: the content of one picture in the style of others."""

from netlens.visualization.style.batch import Batch, Outcome
from netlens.visualization.style.choices import OPTIMIZERS, PARAMS, STATISTICS, TRANSFORMS
from netlens.visualization.style.contact import contact_sheet
from netlens.visualization.style.jobs import Job
from netlens.visualization.style.layers import default_layers
from netlens.visualization.style.options import Region
from netlens.visualization.style.settings import as_settings, from_settings
from netlens.visualization.style.transfer import Below, StyleTransfer, stylize

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

"""Style transfer: the content of one picture in the style of others."""

from netlens.visualization.style._archive import BATCH, packed, unpacked
from netlens.visualization.style._batch import Batch, Outcome
from netlens.visualization.style._choices import OPTIMIZERS, PARAMS, STARTS, STATISTICS, TRANSFORMS
from netlens.visualization.style._contact import contact_sheet
from netlens.visualization.style._jobs import SHEET, Job
from netlens.visualization.style._layers import default_layers
from netlens.visualization.style._options import Region
from netlens.visualization.style._settings import SETTINGS, as_settings, from_settings
from netlens.visualization.style._transfer import Below, StyleTransfer, stylize
from netlens.visualization.style._watch import Glance

__all__ = [
    "BATCH",
    "OPTIMIZERS",
    "PARAMS",
    "SETTINGS",
    "SHEET",
    "STARTS",
    "STATISTICS",
    "TRANSFORMS",
    "Batch",
    "Below",
    "Glance",
    "Job",
    "Outcome",
    "Region",
    "StyleTransfer",
    "as_settings",
    "contact_sheet",
    "default_layers",
    "from_settings",
    "packed",
    "stylize",
    "unpacked",
]

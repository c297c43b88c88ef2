"""Feature visualization: pictures that excite parts of a network most."""

from __future__ import annotations

from netlens.visualization import transforms
from netlens.visualization.atlas import Atlas, activation_atlas
from netlens.visualization.callbacks import Callback, Frames, Moment
from netlens.visualization.dataset import Examples, most_exciting
from netlens.visualization.dream import Dreaming, Zooming, dream, zoom
from netlens.visualization.dreamer import NetDreamer
from netlens.visualization.gradients import LaplacianSmoothing, normalized
from netlens.visualization.invert import Caricaturing, Inverting, caricature, invert
from netlens.visualization.optvis import OptVis
from netlens.visualization.params import (
    CPPN,
    Alpha,
    Fourier,
    FromImage,
    Maco,
    Param,
    Pixel,
    Pyramid,
    Shared,
    on_backgrounds,
    over,
)
from netlens.visualization.schedule import Cosine, Plateau, Schedule, Steps
from netlens.visualization.style import StyleTransfer, stylize
from netlens.visualization.transforms import cropped, standard

__all__ = [
    "CPPN",
    "Alpha",
    "Atlas",
    "Callback",
    "Caricaturing",
    "Cosine",
    "Dreaming",
    "Examples",
    "Fourier",
    "Frames",
    "FromImage",
    "Inverting",
    "LaplacianSmoothing",
    "Maco",
    "Moment",
    "NetDreamer",
    "OptVis",
    "Param",
    "Pixel",
    "Plateau",
    "Pyramid",
    "Schedule",
    "Shared",
    "Steps",
    "StyleTransfer",
    "Zooming",
    "activation_atlas",
    "caricature",
    "cropped",
    "dream",
    "invert",
    "most_exciting",
    "normalized",
    "on_backgrounds",
    "over",
    "standard",
    "stylize",
    "transforms",
    "zoom",
]

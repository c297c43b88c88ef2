"""Feature visualization: pictures that excite parts of a network most."""

from __future__ import annotations

from netlens.visualization import transforms
from netlens.visualization._atlas import Atlas, Charting, activation_atlas
from netlens.visualization._callbacks import Callback, Frames, Moment
from netlens.visualization._dataset import Examples, most_exciting
from netlens.visualization._dream import Dreaming, Zooming, dream, zoom
from netlens.visualization._dreamer import NetDreamer
from netlens.visualization._gradients import LaplacianSmoothing, normalized
from netlens.visualization._invert import Caricaturing, Inverting, caricature, invert
from netlens.visualization._optvis import OptVis
from netlens.visualization._schedule import Cosine, Plateau, Schedule, Steps
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
from netlens.visualization.style import StyleTransfer, stylize
from netlens.visualization.transforms import cropped, standard

__all__ = [
    "CPPN",
    "Alpha",
    "Atlas",
    "Callback",
    "Caricaturing",
    "Charting",
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

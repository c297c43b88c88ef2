"""Feature visualisation: pictures that a network is most excited by, made by one renderer."""

from netlens.visualization import transforms
from netlens.visualization.callbacks import Callback, Frames, Moment
from netlens.visualization.gradients import LaplacianSmoothing, normalised
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
from netlens.visualization.transforms import standard

__all__ = [
    "CPPN",
    "Alpha",
    "Callback",
    "Cosine",
    "Fourier",
    "Frames",
    "FromImage",
    "LaplacianSmoothing",
    "Maco",
    "Moment",
    "OptVis",
    "Param",
    "Pixel",
    "Plateau",
    "Pyramid",
    "Schedule",
    "Shared",
    "Steps",
    "normalised",
    "on_backgrounds",
    "over",
    "standard",
    "transforms",
]

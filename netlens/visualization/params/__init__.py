"""Parameterizations: how pictures are computed from the tensors that are optimized."""

from netlens.options import named
from netlens.visualization.params.alpha import Alpha, on_backgrounds, over
from netlens.visualization.params.base import Param, Sized
from netlens.visualization.params.cppn import CPPN
from netlens.visualization.params.fourier import Fourier
from netlens.visualization.params.from_image import FromImage
from netlens.visualization.params.maco import Maco
from netlens.visualization.params.pixel import Pixel
from netlens.visualization.params.pyramid import Pyramid
from netlens.visualization.params.shared import Shared

PARAMS: dict[str, type[Sized]] = {"fourier": Fourier, "pixel": Pixel, "pyramid": Pyramid, "cppn": CPPN, "maco": Maco}
"""The parameterizations, by their name on the command line."""

named(Sized, PARAMS)

__all__ = [
    "CPPN",
    "PARAMS",
    "Alpha",
    "Fourier",
    "FromImage",
    "Maco",
    "Param",
    "Pixel",
    "Pyramid",
    "Shared",
    "on_backgrounds",
    "over",
]

"""Parameterizations: how pictures are computed from the tensors that are optimized."""

from netlens.options import named
from netlens.visualization.params._alpha import Alpha, on_backgrounds, over
from netlens.visualization.params._base import Param, Size, Sized, extent_of, leaf, made_by
from netlens.visualization.params._cppn import CPPN
from netlens.visualization.params._fourier import Fourier
from netlens.visualization.params._from_image import FromImage, colored, pictures_of
from netlens.visualization.params._invertible import Invertible, resampled
from netlens.visualization.params._maco import Maco
from netlens.visualization.params._pixel import Pixel
from netlens.visualization.params._pyramid import Pyramid
from netlens.visualization.params._shared import Shared

PARAMS: dict[str, type[Sized]] = {"fourier": Fourier, "pixel": Pixel, "pyramid": Pyramid, "cppn": CPPN, "maco": Maco}
"""The parameterizations, by their name on the command line."""

named(Sized, PARAMS)

__all__ = [
    "CPPN",
    "PARAMS",
    "Alpha",
    "Fourier",
    "FromImage",
    "Invertible",
    "Maco",
    "Param",
    "Pixel",
    "Pyramid",
    "Shared",
    "Size",
    "Sized",
    "colored",
    "extent_of",
    "leaf",
    "made_by",
    "on_backgrounds",
    "over",
    "pictures_of",
    "resampled",
]

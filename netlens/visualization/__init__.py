"""Feature visualisation: pictures that a network is most excited by, made by one renderer."""

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

__all__ = [
    "CPPN",
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

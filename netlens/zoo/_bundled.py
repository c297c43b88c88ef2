"""The networks that come with netlens. Both know the 15 classes of the little world of `netlens.world`."""

from __future__ import annotations

from netlens.classes import ClassNames
from netlens.errors import WeightsError
from netlens.preprocessing import Preprocessing
from netlens.weights import PRETRAINED
from netlens.zoo._source import Opened, Source, Weights

SHAPES, SHAPES_VIT = BUNDLED = ("shapes", "shapes_vit")


class Bundled(Source):
    """A small convolutional network, and a small transformer."""

    def has(self, name: str) -> bool:
        return name in BUNDLED

    def open(self, name: str, weights: Weights) -> Opened:
        from netlens.world import network, scene, transformer

        if weights != PRETRAINED:
            raise WeightsError(f"{name} has its own weights; leave weights out, or name another network.")
        shapes = network.network() if name == SHAPES else transformer.network()
        preprocessing = Preprocessing((network.SIZE, network.SIZE), network.SIZE, network.MEAN, network.STD)
        return Opened(shapes, preprocessing, ClassNames(scene.CLASSES))

    def check(self, name: str, weights: Weights) -> None:
        self.open(name, weights)

"""The networks that come with netlens. All know the 15 classes of the little world of `netlens.world`."""

from __future__ import annotations

from netlens.classes import ClassNames
from netlens.errors import WeightsError
from netlens.preprocessing import Preprocessing
from netlens.weights import PRETRAINED
from netlens.zoo._source import Opened, Source, Weights

SHAPES, SHAPES_VIT = BUNDLED = ("shapes", "shapes_vit")

SHUFFLED = "shapes_shuffled"
"""The first of them as shuffled labels make it. It is a control and knows nothing, so it stands in no list."""


class Bundled(Source):
    """A small convolutional network, a small transformer, and a control."""

    def has(self, name: str) -> bool:
        return name in (*BUNDLED, SHUFFLED)

    def open(self, name: str, weights: Weights) -> Opened:
        from netlens.world import network, scene, shuffled, transformer

        if weights != PRETRAINED:
            raise WeightsError(f"{name} has its own weights; leave weights out, or name another network.")
        module = {SHAPES: network, SHAPES_VIT: transformer, SHUFFLED: shuffled}[name].network()
        preprocessing = Preprocessing((network.SIZE, network.SIZE), network.SIZE, network.MEAN, network.STD)
        return Opened(module, preprocessing, ClassNames(scene.CLASSES))

    def check(self, name: str, weights: Weights) -> None:
        self.open(name, weights)

"""The networks of torchvision."""

from __future__ import annotations

from netlens.weights import built, check_weights, metadata
from netlens.zoo._source import Opened, Source, Weights


class Torchvision(Source):
    """All names that no other source has, so that a wrong name gets the closest names of torchvision."""

    def has(self, name: str) -> bool:
        return True

    def open(self, name: str, weights: Weights) -> Opened:
        network, head = built(name, weights)
        preprocessing, classes = metadata(name, weights)
        return Opened(network, preprocessing, classes, head)

    def check(self, name: str, weights: Weights) -> None:
        check_weights(name, weights)

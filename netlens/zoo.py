"""Flat models by name: any torchvision network with its own preprocessing and classes, or the bundled one."""

from __future__ import annotations

import os
from dataclasses import replace

from netlens.classes import ClassNames
from netlens.errors import WeightsError
from netlens.flat import FlatModel
from netlens.flat.adapter import adapter_of
from netlens.preprocessing import Preprocessing
from netlens.weights import build, metadata

SHAPES, SHAPES_VIT = BUNDLED = ("shapes", "shapes_vit")


def open_network(name: str = SHAPES, weights: str | os.PathLike[str] | None = None) -> FlatModel:
    """A flat model by its torchvision name, or a bundled network: "shapes" by default, or the transformer "shapes_vit".

    weights: None (random), "default" (torchvision's own, from its cache or downloaded), or a `.safetensors` or `.pth`
    file. The images that it takes and the names of its classes come with it.

    >>> open_network().classes[0]
    'striped disc'
    """
    if name in BUNDLED:
        if weights is not None:
            raise WeightsError(f"{name} brings its own weights; name a torchvision network for others.")
        return bundled(name)
    network = build(name, weights)
    preprocessing, classes = metadata(name, weights)
    adapter = adapter_of(network)
    if preprocessing is not None:
        adapter = replace(adapter, preprocessing=preprocessing)
    return FlatModel.from_nn_Module(network, adapter=adapter, classes=classes, name=name)


def bundled(name: str = SHAPES) -> FlatModel:
    """A network that comes with netlens: both know the 15 classes of the little world of `netlens.world`."""
    from netlens.world import network, scene, transformer

    shapes = network.network() if name == SHAPES else transformer.network()
    preprocessing = Preprocessing((network.SIZE, network.SIZE), network.SIZE, network.MEAN, network.STD)
    adapter = replace(adapter_of(shapes), preprocessing=preprocessing)
    return FlatModel.from_nn_Module(shapes, adapter=adapter, classes=ClassNames(scene.CLASSES), name=name)

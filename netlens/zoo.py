"""Flat models by name: any network of torchvision, with its preprocessing and classes, or a bundled network."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from netlens.classes import ClassNames
from netlens.errors import WeightsError
from netlens.flat import FlatModel
from netlens.flat.adapter import adapter_of
from netlens.preprocessing import Preprocessing
from netlens.weights import build, metadata

SHAPES, SHAPES_VIT = BUNDLED = ("shapes", "shapes_vit")


def open_network(name: str = SHAPES, weights: str | os.PathLike[str] | None = None) -> FlatModel:
    """A flat model by name, with its preprocessing and the names of its classes.

    Args:
        name: A name in `torchvision.models.list_models()`; or a bundled network, "shapes" or "shapes_vit" (a
            transformer).
        weights: None for random weights; "default" for torchvision's own, from its cache or downloaded; or the path of
            a `.safetensors` or `.pth` file. A bundled network has its own weights, and takes none.

    Raises:
        WeightsError: Torchvision has no such network, or the weights cannot be read or do not fit.

    Example:
        >>> open_network().classes[0]
        'striped disc'
    """
    if name in BUNDLED:
        if weights is not None:
            raise WeightsError(f"{name} has its own weights; leave weights out, or name a network of torchvision.")
        return bundled(name)
    network = build(name, weights)
    preprocessing, classes = metadata(name, weights)
    adapter = adapter_of(network)
    if preprocessing is not None:
        adapter = replace(adapter, preprocessing=preprocessing)
    return FlatModel.from_nn_Module(network, adapter=adapter, classes=classes, name=name)


def check_network(name: str, weights: str | None = None) -> None:
    """Raise if there is no such network or no such weights. It builds only a bundled network, which is small.

    Args:
        name: the name of a network, as for `open_network`.
        weights: its weights, as for `open_network`.

    Raises:
        WeightsError: torchvision has no such network, or there are no such weights.
    """
    from torchvision.models import get_model_weights

    if name in BUNDLED:
        open_network(name, weights)
        return
    metadata(name, weights)  # raises for a name that is unknown
    published = map(str.lower, get_model_weights(name.lower()).__members__)
    if weights is not None and weights.lower() not in published and not Path(weights).is_file():
        raise WeightsError(f"{name} has no weights {weights!r}, and there is no such file; give a file or 'default'.")


def bundled(name: str = SHAPES) -> FlatModel:
    """A bundled network, "shapes" or "shapes_vit". Both know the 15 classes of the little world of `netlens.world`."""
    from netlens.world import network, scene, transformer

    shapes = network.network() if name == SHAPES else transformer.network()
    preprocessing = Preprocessing((network.SIZE, network.SIZE), network.SIZE, network.MEAN, network.STD)
    adapter = replace(adapter_of(shapes), preprocessing=preprocessing)
    return FlatModel.from_nn_Module(shapes, adapter=adapter, classes=ClassNames(scene.CLASSES), name=name)

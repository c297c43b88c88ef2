"""Flat models by name: networks that come with netlens, of torchvision, timm and Hugging Face, and from a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import torch

from netlens.classes import ClassNames
from netlens.errors import WeightsError
from netlens.flat import FlatModel
from netlens.flat.adapter import adapter_of
from netlens.flat.intake import fitted
from netlens.weights import PRETRAINED, RANDOM
from netlens.zoo._bundled import BUNDLED, SHAPES, Bundled
from netlens.zoo._file import PythonFile
from netlens.zoo._huggingface import HuggingFace
from netlens.zoo._source import Source, Weights
from netlens.zoo._timm import Timm
from netlens.zoo._torchvision import Torchvision

__all__ = ["BUNDLED", "PRETRAINED", "RANDOM", "architecture", "check_network", "open_network"]

_SOURCES: tuple[Source, ...] = (Bundled(), Timm(), HuggingFace(), PythonFile(), Torchvision())


def open_network(
    name: str = SHAPES,
    weights: Weights = PRETRAINED,
    classes: ClassNames | Sequence[str] | os.PathLike[str] | None = None,
) -> FlatModel:
    """A flat model by name, with its preprocessing and the names of its classes.

    Args:
        name: One of these:

            - a bundled network: "shapes" or "shapes_vit" (a transformer)
            - a name in `torchvision.models.list_models()`, such as "resnet50"
            - "timm/NAME", such as "timm/convnext_tiny.fb_in1k"
            - "hf/NAME" for a network on the hub of Hugging Face; or the path of a folder with config.json and weights
            - "FILE.py:FUNCTION": a function without arguments that returns the network. The code of the file is run.
        weights: "pretrained" for those that the source publishes, from its cache or downloaded; "random"; the path of
            a `.safetensors` or `.pth` file, also of one with another number of classes; or the name of one of
            torchvision's sets of weights. A bundled network has its own weights, and takes no others.
        classes: The names of the classes, or the path of a text file with one name per line; by default those of the
            weights.

    Raises:
        WeightsError: There is no such network, or its weights cannot be read or do not fit.
        NetLensError: The number of names is not that of the classes.

    Example:
        >>> open_network().classes[0]
        'striped disc'
    """
    opened = _source_of(name, weights).open(name, weights)
    adapter = adapter_of(opened.network)
    if opened.preprocessing is not None:
        adapter = replace(adapter, preprocessing=opened.preprocessing)
    class_names = None if classes is None else ClassNames.of(classes)
    names = (
        class_names if class_names is not None else opened.classes if opened.classes is not None else adapter.classes
    )
    if opened.head is not None and names is not None and len(names) != opened.head and class_names is None:
        names, adapter = None, replace(adapter, classes=None)  # the names are those of other weights
    flat = FlatModel.from_nn_Module(opened.network, adapter=adapter, classes=names, name=name)
    if class_names is not None:
        _check_count(flat, class_names)
    return flat


def architecture(name: str) -> FlatModel:
    """A flat model by name whose weights do not matter: random ones, so that none are downloaded."""
    return open_network(name, PRETRAINED if name in BUNDLED else RANDOM)


def check_network(name: str, weights: Weights = PRETRAINED) -> None:
    """Raise if there is no such network or no such weights. It builds only a bundled network, which is small.

    Args:
        name: The name of a network, as for `open_network`.
        weights: Its weights, as for `open_network`.

    Raises:
        WeightsError: There is no such network, or there are no such weights.
    """
    _source_of(name, weights).check(name, weights)


def _source_of(name: str, weights: Weights) -> Source:
    if not isinstance(name, str):
        raise WeightsError(f"a network is opened by its name, such as 'resnet18', not by {name!r}.")
    if not isinstance(weights, (str, os.PathLike)):
        raise WeightsError(f"weights are 'pretrained', 'random' or the path of a file, not {weights!r}.")
    return next(source for source in _SOURCES if source.has(name))


def _check_count(flat: FlatModel, names: ClassNames) -> None:
    """Raise if the names are not as many as the classes of the network."""
    expected = flat.adapter.preprocessing
    if expected.size is None or flat.adapter.unwrap is not None:
        return
    usual = flat.adapter.example
    x = torch.zeros(usual if usual is not None else (1, len(expected.mean), *expected.size))
    with torch.no_grad():
        count = flat.logits(flat(fitted(flat, x))).shape[1]
    if count != len(names):
        raise WeightsError(f"{flat.name} has {count} classes, but {len(names)} names are given; give one for each.")

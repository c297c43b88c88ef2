"""All of torchvision's networks that classify images."""

from __future__ import annotations

from functools import partial

import torchvision

from benchmarks.matrix._subject import Built, Subject, image
from netlens.flat.adapter import adapter_of
from netlens.weights import build


def subjects() -> list[Subject]:
    names = torchvision.models.list_models(module=torchvision.models)
    return [Subject(name, _family(name), partial(_built, name)) for name in names]


def _family(name: str) -> str:
    """The class of the network, without building it."""
    returns = torchvision.models.get_model_builder(name).__annotations__["return"]
    return str(getattr(returns, "__name__", returns))


def _built(name: str) -> Built:
    network = build(name)
    size = adapter_of(network).preprocessing.size
    assert size is not None
    return Built(network, image(*size))

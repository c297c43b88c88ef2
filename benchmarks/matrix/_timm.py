"""timm's networks: the smallest of every module of `timm.models`, or all of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models._registry import _module_to_models

from benchmarks.matrix._subject import Built, Subject, image

FAMILIES = Path(__file__).with_name("timm_families.txt")
"""The smallest network of each module, which `python -m benchmarks.matrix.smallest` finds."""


SMALL = 128  # pixels, for networks that take images of any size


def build(name: str, small: bool = False) -> Built:
    """A network by name. With `small`, its image is small, unless it takes images of some sizes only."""
    network = timm.create_model(name)
    facts: dict[str, Any] = network.pretrained_cfg
    channels, height, width = facts["input_size"]
    whole = image(height, width, channels)
    if not small or facts["fixed_input_size"]:
        return Built(network, whole)
    least = facts.get("min_input_size") or (channels, SMALL, SMALL)
    part = image(max(SMALL, least[1]), max(SMALL, least[2]), channels)
    try:
        with torch.no_grad():
            network.eval()(part)
    except (AssertionError, ValueError, RuntimeError):  # patches do not fit, say; each author raises another error
        return Built(network, whole)
    return Built(network, part)


def by_module() -> dict[str, list[str]]:
    """The entry points of every module of `timm.models`, without those that are old names of others."""
    models = set(timm.list_models())
    return {module: sorted(models.intersection(names)) for module, names in sorted(_module_to_models.items())}


def smallest() -> list[Subject]:
    """The smallest network of each module."""
    lines = [line.split() for line in FAMILIES.read_text().splitlines()]
    return [Subject(name, module, partial(build, name)) for module, name, _ in lines]


def everything() -> list[Subject]:
    """Every entry point."""
    return [
        Subject(name, module, partial(build, name, True)) for module, names in by_module().items() for name in names
    ]

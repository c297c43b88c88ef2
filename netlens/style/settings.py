"""Settings as plain names and numbers, as files and command lines have them, to a style transfer; and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from netlens.errors import NetLensError
from netlens.style.choices import PARAMS, STATISTICS, TRANSFORMS, check_names, chosen, optimizer_of
from netlens.style.transfer import StyleTransfer

_WHOLE = ("steps", "scales", "seed")
_NUMBERS = ("content_weight", "style_weight", "tv_weight", "style_scale", "lr", "target")
_NAMED = ("statistic", "loss", "optimizer", "start", "param", "transforms", "color")
_OTHER = ("content_layers", "style_layers", "style_weights", "size")
NAMES = (*_NAMED, *_WHOLE, *_NUMBERS, *_OTHER)
"""What can be set by plain names and numbers: all options of a style transfer but `stop`."""


def from_settings(settings: Mapping[str, Any]) -> StyleTransfer:
    """The style transfer that plain settings describe; raises for what is unknown or of another kind.

    >>> from_settings({"size": [192, 256], "optimizer": "lbfgs"}).size
    (192, 256)
    """
    check_names(settings, NAMES, "a style transfer")
    for name in _NAMED:
        if not isinstance(settings.get(name, ""), str):
            raise NetLensError(f"{name} is given by its name, not by {settings[name]!r}.")
    size = settings.get("size")
    options = dict(settings) | ({"size": tuple(size)} if isinstance(size, list) else {})
    transfer = StyleTransfer(**options)
    # what is chosen by name is looked up now, before anybody waits
    chosen("statistic", str(transfer.statistic), STATISTICS)
    chosen("param", str(transfer.param), PARAMS)
    chosen("transforms", str(transfer.transforms), TRANSFORMS)
    optimizer_of(transfer.optimizer, transfer.lr, transfer.steps)
    return transfer


def as_settings(transfer: StyleTransfer) -> dict[str, Any]:
    """All options in words that JSON has; an object is described by its repr."""
    plain = {field.name: getattr(transfer, field.name) for field in fields(transfer)}
    return {name: value if _plain(value) else repr(value) for name, value in plain.items()}


def _plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    if isinstance(value, Mapping):
        return all(isinstance(key, str) for key in value) and all(map(_plain, value.values()))
    return value is None or isinstance(value, (str, int, float, bool))

"""Settings: plain names and numbers, as in files and on command lines, to a style transfer and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netlens.options import checked, known, options_of
from netlens.visualization.style.transfer import StyleTransfer

NAMES = tuple(o.name for o in options_of(StyleTransfer) if o.name != "stop")
"""What can be set by plain names and numbers: all options of a style transfer but `stop`."""


def from_settings(settings: Mapping[str, Any]) -> StyleTransfer:
    """The style transfer that plain settings describe; raises for an unknown name and for a wrong value.

    >>> from_settings({"size": [192, 256], "optimizer": "lbfgs"}).size
    (192, 256)
    """
    known("a style transfer", settings, NAMES)
    checked("StyleTransfer: start", settings.get("start", ""), str, hint="give the path of a picture")
    return StyleTransfer(**settings)


def as_settings(transfer: StyleTransfer) -> dict[str, Any]:
    """All options in words that JSON has; an object is described by its repr."""
    plain = {o.name: getattr(transfer, o.name) for o in options_of(StyleTransfer)}
    return {name: value if _plain(value) else repr(value) for name, value in plain.items()}


def _plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    if isinstance(value, Mapping):
        return all(isinstance(key, str) for key in value) and all(map(_plain, value.values()))
    return value is None or isinstance(value, (str, int, float, bool))

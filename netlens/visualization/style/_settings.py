"""Settings: a style transfer as plain names and numbers, for files and command lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netlens.options import check_names, checked, options_of
from netlens.visualization.style._transfer import StyleTransfer

SETTINGS = {o.name: o for o in options_of(StyleTransfer) if o.name != "stop"}
"""The options that settings can have, by name: all of a style transfer but `stop`, which no text can give."""


def from_settings(settings: Mapping[str, Any]) -> StyleTransfer:
    """The style transfer with these settings.

    Args:
        settings: Values of JSON by the name of the option, of those in `SETTINGS`.

    Raises:
        NetLensError: A name is unknown, or a value is wrong.

    Example:
        >>> from_settings({"size": [192, 256], "optimizer": "lbfgs"}).size
        (192, 256)
    """
    check_names("a style transfer", settings, SETTINGS)
    checked("StyleTransfer: start", settings.get("start", ""), str, hint="give the path of a picture")
    return StyleTransfer(**settings)


def as_settings(transfer: StyleTransfer) -> dict[str, Any]:
    """All options as values of JSON. An object is described by its `repr`.

    Args:
        transfer: The style transfer.

    Example:
        >>> from netlens.visualization.style import Below
        >>> settings = as_settings(StyleTransfer(steps=100, stop=Below(0.5)))
        >>> settings["steps"], settings["stop"]
        (100, 'Below(loss=0.5, other=None)')
    """
    plain = {o.name: getattr(transfer, o.name) for o in options_of(StyleTransfer)}
    return {name: value if _plain(value) else repr(value) for name, value in plain.items()}


def _plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    if isinstance(value, Mapping):
        return all(isinstance(key, str) for key in value) and all(map(_plain, value.values()))
    return value is None or isinstance(value, (str, int, float, bool))

"""Notebook: what the page shows as lines of Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from netlens.playground._studio import Studio
from netlens.zoo import PRETRAINED

FIELDS = "What the fields say now, in a notebook"
"""The label of lines that need not be those of a result on the page, because the fields may have changed since."""


def network(studio: Studio) -> str:
    """The call that opens the network, such as `open_network('shapes')`."""
    text = repr(studio.model)
    text += "" if studio.weights == PRETRAINED else f", weights={studio.weights!r}"
    text += "" if studio.classes is None else f", classes={studio.classes!r}"
    return f"open_network({text})"


def picture(studio: Studio, name: str) -> tuple[list[str], str]:
    """The imports that a picture needs, and the picture: a scene, or a file. The file of an upload is unknown here."""
    source = studio.pictures.get(name)
    if isinstance(source, int):
        return ["from netlens.world.scene import scene"], f"scene({source}).image"
    return [], repr("photo.jpg" if source is None else str(source))


def arguments(values: Mapping[str, Any]) -> str:
    """Arguments by name.

    >>> arguments({"steps": 3, "param": int})
    'steps=3, param=int'
    """
    return ", ".join(f"{name}={value(one)}" for name, one in values.items())


def value(one: Any) -> str:
    """A value as Python: a class by its name; an instance of a dataclass with the fields that differ from its defaults.

    >>> from netlens.visualization import Pixel
    >>> value(Pixel), value(Pixel(seed=3)), value((32, 16))
    ('Pixel', 'Pixel(seed=3)', '(32, 16)')
    """
    if isinstance(one, type):
        return one.__name__
    if is_dataclass(one):
        cls: Any = type(one)
        standard = cls()
        changed = {
            f.name: getattr(one, f.name)
            for f in fields(one)
            if f.init and getattr(one, f.name) != getattr(standard, f.name)
        }
        return f"{cls.__name__}({arguments(changed)})"
    return repr(one)

"""Methods with few steps and small windows: enough for laws, in which no number of steps matters."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from netlens.attribution import METHODS, Method

SMALL: dict[str, Any] = {
    "n_steps": 5,
    "n_samples": 3,
    "n_masks": 6,
    "n_segments": 6,
    "grid_size": 3,
    "n_channels": 6,
    "window": 13,
    "stride": 9,
}


def small_options(name: str) -> dict[str, Any]:
    """A small value of each option of the registered method that has one."""
    options = {field.name for field in fields(METHODS[name])}
    return {option: value for option, value in SMALL.items() if option in options}


def small(name: str) -> Method:
    """The registered method with its small options."""
    return METHODS[name](**small_options(name))

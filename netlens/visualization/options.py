"""Options as they must be: numbers of any library become Python's own, and all else is refused in one line."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields
from operator import index
from typing import Any

import numpy as np
from torch import Tensor

from netlens.errors import NetLensError
from netlens.flat import FlatModel


def typed(options: Any) -> None:
    """Raise unless the numbers among a dataclass's fields are what their annotations say; whole ones become int."""
    for field in (field for field in fields(options) if field.init):
        kind, value = str(field.type), getattr(options, field.name)
        if kind.endswith(" | None") and value is None:
            continue
        match kind.removesuffix(" | None"):
            case "int":
                object.__setattr__(options, field.name, whole(field.name, value))
            case "float":
                object.__setattr__(options, field.name, number(field.name, value))
            case "bool":
                instance(field.name, value, (bool, np.bool_), "True or False")


def whole(what: str, value: Any, least: int | None = None) -> int:
    """A whole number, of at least so much."""
    try:
        given = None if isinstance(value, bool | np.bool_) else index(value)
    except TypeError:
        given = None
    if given is None or (least is not None and given < least):
        bound = "" if least is None else f" of at least {least}"
        raise NetLensError(f"{what} is a whole number{bound}, not {value!r}.")
    return given


def number(what: str, value: Any, least: float = -math.inf) -> float:
    """A finite number of at least so much."""
    try:
        finite = not isinstance(value, str | bool) and math.isfinite(value) and value >= least
    except (TypeError, ValueError, OverflowError, RuntimeError):  # also of arrays and tensors that hold several
        finite = False
    if not finite:
        bound = "" if least == -math.inf else f" of at least {least:g}"
        raise NetLensError(f"{what} is a finite number{bound}, not {value!r}.")
    return float(value)


def several(what: str, values: Any, least: int | None = None) -> list[int]:
    """Whole numbers, given as a list, an array, a tensor, or as a single one."""
    given = values.tolist() if isinstance(values, np.ndarray | np.generic | Tensor) else values
    if isinstance(given, Iterable) and not isinstance(given, str):
        return [whole(what, one, least) for one in given]
    return [whole(what, given, least)]


def instance(what: str, value: Any, kinds: type | tuple[type, ...], example: str) -> None:
    """Raise unless a value is of one of these types."""
    if not isinstance(value, kinds):
        shown = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
        raise NetLensError(f"{what} is {shown}; give {example}.")


def known(of: str, given: Iterable[str], names: Iterable[str]) -> None:
    """Raise if one of the given names is none that there is."""
    for name in given:
        if name not in names:
            raise NetLensError(f"{of} has no option {name!r} to be given here; its options: {', '.join(names)}.")


def network(flat: Any) -> None:
    """Raise unless this is a flat model."""
    instance("the network", flat, FlatModel, "a FlatModel, made by FlatModel.from_nn_Module")

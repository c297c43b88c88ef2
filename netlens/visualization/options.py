"""Options as they must be: numbers of any library become Python's own, and all else is refused in one line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
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


MOST_STEPS = 1_000_000  # of an optimization: what is beyond is a mistake, and its history would fill the memory


def whole(what: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """A whole number within bounds."""
    try:
        given = None if isinstance(value, bool | np.bool_) else index(value)
    except TypeError:
        given = None
    if given is None or not (-math.inf if least is None else least) <= given <= (math.inf if most is None else most):
        raise NetLensError(f"{what} is a whole number{_bounds(least, most)}, not {value!r}.")
    return given


def number(what: str, value: Any, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite number within bounds."""
    try:
        finite = not isinstance(value, str | bool) and math.isfinite(value) and least <= value <= most
    except (TypeError, ValueError, OverflowError, RuntimeError):  # also of arrays and tensors that hold several
        finite = False
    if not finite:
        raise NetLensError(f"{what} is a finite number{_bounds(least, most)}, not {value!r}.")
    return float(value)


def _bounds(least: float | None, most: float | None) -> str:
    low, high = (None if one is None or math.isinf(one) else f"{one:,}" for one in (least, most))
    if low is None or high is None:
        return "" if low is None and high is None else f" of at most {high}" if low is None else f" of at least {low}"
    return f" from {low} to {high}"


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


def shaped(value: Any, shape: Sequence[int], what: str) -> Tensor:
    """What somebody's own function gave, if it is a tensor of this shape; -1 is any number above 0."""
    got = tuple(value.shape) if isinstance(value, Tensor) else ()
    if len(got) != len(shape) or any(a != b and not (b == -1 and a > 0) for a, b in zip(got, shape, strict=True)):
        shown = f"a tensor {got}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        wanted = ", ".join("any" if side == -1 else str(side) for side in shape)
        raise NetLensError(f"{what} gave {shown}; it must give a tensor ({wanted}).")
    return value


def known(of: str, given: Iterable[str], names: Iterable[str]) -> None:
    """Raise if one of the given names is none that there is."""
    for name in given:
        if name not in names:
            raise NetLensError(f"{of} has no option {name!r} to be given here; its options: {', '.join(names)}.")


def called(flat: FlatModel, name: Any) -> str:
    """What to call a layer in a caption: its name, if that names one layer only by letters; otherwise its key."""
    return name if isinstance(name, str) and not set(name) & set("*?[") else flat.key(name)


def network(flat: Any) -> None:
    """Raise unless this is a flat model."""
    instance("the network", flat, FlatModel, "a FlatModel, made by FlatModel.from_nn_Module")

"""Options are of the types that their fields say: another value is refused in one line."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from torch import Tensor

from netlens.errors import NetLensError

_SAID = {
    int: "a whole number",
    float: "a finite number",
    bool: "True or False",
    str: "a name",
    NoneType: "None",
}


def check_options(options: Any) -> None:
    """Raise unless each field of a dataclass holds what its annotation says; numbers must be finite too."""
    cls: Any = type(options)
    kinds = _kinds(cls)
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name in kinds and not _fits(value, kinds[field.name]):
            wanted = _said(kinds[field.name])
            raise NetLensError(f"{cls.__name__}: {field.name} is {_shown(value)}, but must be {wanted}.")
        if field.name == "seed" and value < 0:
            raise NetLensError(f"{cls.__name__}: seed is {value}, but must be at least 0.")
        if is_dataclass(value):
            check_options(value)


@cache
def _kinds(cls: Any) -> dict[str, Any]:
    try:
        return get_type_hints(cls)
    except NameError:  # a class of somebody's own, annotated with names that are not known at runtime
        return {}


def _fits(value: Any, kind: Any) -> bool:
    if kind == Tensor | None:
        return True  # what it must be like, the method that reads it says better
    if get_origin(kind) in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if get_origin(kind) is Literal:
        return isinstance(value, str)  # which of them, the method that chooses says
    if get_origin(kind) is Sequence:
        several = value.tolist() if isinstance(value, np.ndarray | Tensor) else value
        (item,) = get_args(kind)
        return (
            isinstance(several, Sequence) and not isinstance(several, str) and all(_fits(one, item) for one in several)
        )
    if kind is bool:
        return isinstance(value, Integral | np.bool_) and value in (0, 1)
    if kind in (int, float):
        number = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
        return number and math.isfinite(value)
    return kind is Any or not isinstance(kind, type) or isinstance(value, kind)


def _said(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        *some, last = (_said(one) for one in get_args(kind))
        return f"{', '.join(some)} or {last}"
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(repr, get_args(kind)))}"
    if get_origin(kind) is Sequence:
        return f"a list, each {_said(get_args(kind)[0])}"
    return _SAID.get(kind, f"a {getattr(kind, '__name__', kind)}")


def _shown(value: Any) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else " ".join(reprlib.repr(value).split())

"""Values: whether one is of a kind and within its limits, and the one wording of all errors."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import index
from typing import Any, Literal, TypeVar, get_args, get_origin

import numpy as np
from torch import Tensor

from netlens.errors import NetLensError, closest
from netlens.options._kinds import UNIONS, said
from netlens.options._limits import Limits, Number


class MisfitError(Exception):
    """A value is not of a type, or not within its limits."""


def checked(
    what: str,
    value: Any,
    kind: Any,
    *,
    least: Number | None = None,
    most: Number | None = None,
    above: Number | None = None,
    below: Number | None = None,
    choices: Iterable[str] = (),
    hint: str = "",
) -> Any:
    """An argument of a function, checked as an option is.

    Args:
        what: What to call it in an error.
        value: What was given.
        kind: Its type, such as `int` or `float | None`.
        least, most, above, below, choices: As for `option`.
        hint: What to give instead, at the end of the error.

    >>> checked("k", np.int64(3), int, least=1)
    3
    """
    return fitted(what, value, kind, Limits(least, most, above, below, tuple(choices)), hint)


def known(what: str, given: Iterable[str], names: Iterable[str]) -> None:
    """Raise if one of the given names is not the name of an option, with the names that there are."""
    every = list(names)
    for name in given:
        if name not in every:
            near = f" Closest: {closest(str(name), every)}." if every else ""
            raise NetLensError(f"{what} has no option {name!r}; its options: {', '.join(every) or 'none'}.{near}")


def fitted(what: str, value: Any, kind: Any, limits: Limits, hint: str = "") -> Any:
    try:
        return _fit(value, kind, limits)
    except MisfitError:
        tail = f"; {hint}" if hint else ""
        raise NetLensError(f"{what} is {_shown(value)}, but must be {said(kind, limits)}{tail}.") from None


def _fit(value: Any, kind: Any, limits: Limits) -> Any:
    """The value as one of the type; raises `MisfitError` where it is none."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in UNIONS:
        # what already is of one of the types, as a tensor may be, is not turned into a number
        for one in sorted(inner, key=lambda one: not (isinstance(one, type) and isinstance(value, one))):
            try:
                return _fit(value, one, limits)
            except MisfitError:
                continue
        raise MisfitError
    if kind is Any or isinstance(kind, TypeVar):
        return value
    if origin is Literal:
        return _sure(value, isinstance(value, str) and value in inner)
    if origin in (Sequence, tuple, list):
        return _items(value, origin, inner, limits)
    if origin is Mapping:
        pairs = _sure(value, isinstance(value, Mapping)).items()
        return {_fit(name, inner[0], limits): _fit(one, inner[1], limits) for name, one in pairs}
    if origin is type:
        return _sure(value, isinstance(value, type) and (inner[0] is Any or issubclass(value, inner[0])))
    if origin is Callable or kind is Callable:
        return _sure(value, callable(value))
    if kind is bool:
        return bool(_sure(value, isinstance(value, (bool, int, np.bool_, np.integer)) and value in (0, 1)))
    if kind in (int, float):
        return _number(value, kind, limits)
    if kind is str:
        return _sure(value, isinstance(value, str) and (not limits.choices or value in limits.choices))
    return _sure(value, not isinstance(kind, type) or isinstance(value, kind))


def _sure(value: Any, fits: bool) -> Any:
    if not fits:
        raise MisfitError
    return value


def _number(value: Any, kind: type, limits: Limits) -> Number:
    try:
        if isinstance(value, (str, bool, np.bool_)):
            raise MisfitError
        if kind is int:
            number: Number = index(value)
        else:
            number = float(value) if math.isfinite(value) else math.nan
    except (TypeError, ValueError, OverflowError, RuntimeError):  # also of tensors that hold several numbers
        raise MisfitError from None
    if math.isnan(number) or not limits.hold(number):
        raise MisfitError
    return number


def _items(value: Any, origin: Any, inner: tuple[Any, ...], limits: Limits) -> Any:
    several = value.tolist() if isinstance(value, (np.ndarray, Tensor)) else value
    _sure(several, isinstance(several, Sequence) and not isinstance(several, (str, bytes)))
    if origin is tuple and inner[-1] is not Ellipsis:
        _sure(several, len(several) == len(inner))
        return tuple(_fit(one, kind, limits) for one, kind in zip(several, inner, strict=True))
    items = [_fit(one, inner[0], limits) for one in several]
    return items if origin is list else tuple(items)


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    return f"the class {value.__name__}" if isinstance(value, type) else " ".join(reprlib.repr(value).split())

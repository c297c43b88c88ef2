"""Values: whether a value has the right type and keeps its limits, and the wording of all errors."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from operator import index
from typing import Any

import numpy as np
from torch import Tensor

from netlens.errors import NetLensError, closest
from netlens.options._kinds import requirement
from netlens.options._limits import Limits, Number
from netlens.options.forms import ClassOf, Either, Fixed, Function, Listed, Mapped, Words, form_of


class MisfitError(Exception):
    """A value does not have its type, or is not within its limits."""


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
    error: type[NetLensError] = NetLensError,
) -> Any:
    """An argument of a function, checked as an option is.

    Args:
        what: The name of the argument in an error.
        value: The value of the argument.
        kind: Its type, such as `int` or `float | None`.
        least, most, above, below, choices: As for `option`.
        hint: What to give instead, at the end of the error.
        error: The class of the error.

    >>> checked("k", np.int64(3), int, least=1)
    3
    """
    return fitted(what, value, kind, Limits(least, most, above, below, tuple(choices)), hint, error)


def check_names(what: str, names: Iterable[str], options: Iterable[str]) -> None:
    """Raise if one of the names is not the name of an option. The message lists the options."""
    every = list(options)
    for name in names:
        if name not in every:
            near = f" Closest: {closest(str(name), every)}." if every else ""
            raise NetLensError(f"{what} has no option {name!r}; its options: {', '.join(every) or 'none'}.{near}")


def fitted(
    what: str, value: Any, kind: Any, limits: Limits, hint: str = "", error: type[NetLensError] = NetLensError
) -> Any:
    try:
        return _fit(value, kind, limits)
    except MisfitError:
        tail = f"; {hint}" if hint else ""
        raise error(f"{what} is {_shown(value)}, but must be {requirement(kind, limits)}{tail}.") from None


def _fit(value: Any, kind: Any, limits: Limits) -> Any:
    """The value as a value of the type `kind`. Raises `MisfitError` if that is not possible."""
    match form_of(kind, limits.choices):
        case Either(kinds):
            # a value that already has one of the types, as a tensor may, is not turned into a number
            for one in sorted(kinds, key=lambda one: not (isinstance(one, type) and isinstance(value, one))):
                try:
                    return _fit(value, one, limits)
                except MisfitError:
                    continue
            raise MisfitError
        case Words(words):
            return _sure(value, isinstance(value, str) and value in words)
        case Fixed(kinds):
            items = _items(value)
            _sure(items, len(items) == len(kinds))
            return tuple(_fit(item, one, limits) for item, one in zip(items, kinds, strict=True))
        case Listed(item, mutable):
            items = [_fit(one, item, limits) for one in _items(value)]
            return items if mutable else tuple(items)
        case Mapped(name, number):
            pairs = _sure(value, isinstance(value, Mapping)).items()
            return {_fit(key, name, limits): _fit(one, number, limits) for key, one in pairs}
        case ClassOf(base):
            return _sure(value, isinstance(value, type) and (base is Any or issubclass(value, base)))
        case Function():
            return _sure(value, callable(value))
    if kind is Any:
        return value
    if kind is bool:
        return bool(_sure(value, isinstance(value, (bool, int, np.bool_, np.integer)) and value in (0, 1)))
    if kind in (int, float):
        return _number(value, kind, limits)
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
    except (TypeError, ValueError, OverflowError, RuntimeError):  # for example, of a tensor with several numbers
        raise MisfitError from None
    if math.isnan(number) or not limits.hold(number):
        raise MisfitError
    return number


def _items(value: Any) -> Sequence[Any]:
    several = value.tolist() if isinstance(value, (np.ndarray, Tensor)) else value
    items: Sequence[Any] = _sure(several, isinstance(several, Sequence) and not isinstance(several, (str, bytes)))
    return items


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    return f"the class {value.__name__}" if isinstance(value, type) else " ".join(reprlib.repr(value).split())

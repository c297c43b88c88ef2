"""Declared: an option as a field of a dataclass, and the check of all options of an instance."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any, get_type_hints

from netlens.errors import NetLensError
from netlens.options._kinds import FEW, NAMED, short
from netlens.options._limits import ANY, Limits, Number
from netlens.options._values import fitted
from netlens.options.forms import Words, alternatives, form_of

_MARK = "netlens option"


@dataclass(frozen=True)
class Option:
    """One option of a class: its name, its resolved type, its default, its limits and its help."""

    name: str
    kind: Any
    default: Any
    limits: Limits
    help: str

    @property
    def required(self) -> bool:
        """Whether the option has no default."""
        return self.default is MISSING

    @property
    def words(self) -> str:
        """The type, in few words."""
        return short(self.kind, self.limits)

    @property
    def choices(self) -> tuple[str, ...]:
        """The names that the option accepts; empty if it accepts any name, or too many to list."""
        if self.limits.choices:
            return self.limits.choices
        for kind in (self.kind, *alternatives(self.kind)):
            if isinstance(form := form_of(kind), Words):
                return form.words
            if len(NAMED.get(kind, ())) in range(1, FEW):
                return tuple(NAMED[kind])
        return ()


def option(
    default: Any = MISSING,
    *,
    factory: Callable[[], Any] | None = None,
    least: Number | None = None,
    most: Number | None = None,
    above: Number | None = None,
    below: Number | None = None,
    choices: Iterable[str] = (),
    help: str,
    repr: bool = True,
) -> Any:
    """Declare a field of a dataclass as an option.

    Args:
        default: The default value; without it, the option is required.
        factory: A function that makes a new default for each instance, instead of `default`.
        least: The smallest allowed number; in a list, of each number.
        most: The largest allowed number.
        above: A bound that every number must exceed.
        below: A bound that every number must stay under.
        choices: The allowed names, for options that are given by name.
        help: One or two short sentences: what the option does, and its unit.
        repr: Whether the option is part of the instance's repr.
    """
    metadata = {_MARK: (Limits(least, most, above, below, tuple(choices)), help)}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata, repr=repr)
    return field(default=default, metadata=metadata, repr=repr)


def options_of(cls: type) -> tuple[Option, ...]:
    """The options of a class in their order: all fields that its constructor takes."""
    options: tuple[Option, ...] = _options_of(cls)
    return options


@cache
def _options_of(cls: Any) -> tuple[Option, ...]:
    try:
        kinds = get_type_hints(cls)
    except NameError:  # a class of a user's own, annotated with names that are not known at run time
        kinds = {}
    options = []
    for one in fields(cls):
        if one.init:
            limits, text = _declared(cls, one.name)
            default = one.default if one.default_factory is MISSING else one.default_factory()
            options.append(Option(one.name, kinds.get(one.name, Any), default, limits, text))
    return tuple(options)


def _declared(cls: Any, name: str) -> tuple[Limits, str]:
    """The limits and the help of a field; a class that only changes a default keeps the limits and help of its base."""
    for base in cls.__mro__:
        base_fields = vars(base).get("__dataclass_fields__", {})
        if name in base_fields and _MARK in base_fields[name].metadata:
            limits, text = base_fields[name].metadata[_MARK]
            return limits, text
    return ANY, ""


def check(instance: Any, error: type[NetLensError] = NetLensError) -> None:
    """Raise unless each option of a dataclass instance is of its type and within its bounds; for `__post_init__`.

    Numbers of NumPy and torch become numbers of Python, and lists become tuples.

    Args:
        instance: An instance of a dataclass.
        error: The class of the error.

    Raises:
        NetLensError: An option is wrong; the message names the class, the option, the value, and what it must be.
    """
    cls = type(instance)
    for one in options_of(cls):
        value = getattr(instance, one.name)
        fitted_value = fitted(f"{cls.__name__}: {one.name}", value, one.kind, one.limits, error=error)
        if fitted_value is not value:
            object.__setattr__(instance, one.name, fitted_value)

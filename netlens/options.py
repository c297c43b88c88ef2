"""What an option is: a field of a dataclass that says its type, default, bounds and help.

A class declares its options as fields, and checks them when it is made. Command lines, docs and forms are made from the
same fields, so that nothing about an option is written twice.

>>> @dataclass(frozen=True)
... class Blur:
...     sigma: float = option(1.0, above=0, help="Standard deviation, in pixels.")
...     steps: int = option(10, least=1, most=100, help="How many times.")
...
...     def __post_init__(self) -> None:
...         check(self)
>>> parse(Blur, "sigma=2,steps=5")
Blur(sigma=2.0, steps=5)
>>> Blur(steps=0)
Traceback (most recent call last):
netlens.errors.NetLensError: Blur: steps is 0, but must be a whole number from 1 to 100.
>>> [(row.name, row.default, row.bounds) for row in table(Blur)]
[('sigma', '1.0', 'above 0'), ('steps', '10', '1 to 100')]
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from operator import index
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from torch import Tensor

from netlens.errors import NetLensError, closest

T = TypeVar("T")
Number = int | float

_MARK = "netlens option"
_FEW = 9  # names beyond it are too many to list
_UNIONS = (Union, UnionType)
_NAMED: dict[type, Mapping[str, type]] = {}


@dataclass(frozen=True)
class Limits:
    """What numbers and names may be, also those in a list.

    least, most: bounds that belong to the range. above, below: bounds that do not. choices: all names that there are.
    """

    least: Number | None = None
    most: Number | None = None
    above: Number | None = None
    below: Number | None = None
    choices: tuple[str, ...] = ()

    def hold(self, number: Number) -> bool:
        """Whether a number lies within the bounds."""
        return (
            (self.least is None or number >= self.least)
            and (self.most is None or number <= self.most)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        low = "" if self.least is None else f"at least {self.least:,}"
        low = low if self.above is None else f"above {self.above:,}"
        high = "" if self.most is None else f"at most {self.most:,}"
        high = high if self.below is None else f"below {self.below:,}"
        if self.least is not None and self.most is not None:
            return f"{self.least:,} to {self.most:,}"
        return " and ".join(part for part in (low, high) if part)

    @property
    def phrase(self) -> str:
        """The bounds as they follow the words "a number"."""
        text = str(self)
        if not text:
            return ""
        if self.least is not None and self.most is not None:
            return f" from {text}"
        return f" {text}" if text.startswith(("above", "below")) else f" of {text}"


ANY = Limits()


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
        """Whether there is no default."""
        return self.default is MISSING

    @property
    def words(self) -> str:
        """The type, in words.

        >>> [option.words for option in options_of(Limits)][0]
        'a whole number, a finite number or None'
        """
        return _said(self.kind, Limits(choices=self.limits.choices))

    @property
    def choices(self) -> tuple[str, ...]:
        """The names that it may be given by; none where any name is possible, or very many are."""
        if self.limits.choices:
            return self.limits.choices
        for kind in (self.kind, *get_args(self.kind)):
            if get_origin(kind) is Literal:
                return tuple(get_args(kind))
            if len(_NAMED.get(kind, ())) in range(1, _FEW):
                return tuple(_NAMED[kind])
        return ()

    def read(self, text: str, between: str = "/") -> Any:
        """The value that a text means, unchecked; the items of a list stand between `between`."""
        return _read(text.strip(), self.kind, between)


class Row(NamedTuple):
    """An option in words, as a row of a table."""

    name: str
    type: str
    default: str
    bounds: str
    help: str


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
        default: The value where none is given; without it the option is required.
        factory: Makes the default anew for each instance, instead of `default`.
        least: The smallest number allowed; also of the numbers in a list.
        most: The largest number allowed.
        above: A bound that every number must exceed.
        below: A bound that every number must stay under.
        choices: The names allowed, for options that are given by name.
        help: One or two short sentences: what it does, and its unit.
        repr: Whether the option is part of the instance's repr.
    """
    about = {_MARK: (Limits(least, most, above, below, tuple(choices)), help)}
    if factory is not None:
        return field(default_factory=factory, metadata=about, repr=repr)
    return field(default=default, metadata=about, repr=repr)


def options_of(cls: type) -> tuple[Option, ...]:
    """The options of a class in their order: all fields that its constructor takes."""
    found: tuple[Option, ...] = _options_of(cls)
    return found


@cache
def _options_of(cls: Any) -> tuple[Option, ...]:
    try:
        kinds = get_type_hints(cls)
    except NameError:  # a class of a user's own, annotated with names that are not known at run time
        kinds = {}
    found = []
    for one in fields(cls):
        if one.init:
            limits, text = _declared(cls, one.name)
            default = one.default if one.default_factory is MISSING else one.default_factory()
            found.append(Option(one.name, kinds.get(one.name, Any), default, limits, text))
    return tuple(found)


def _declared(cls: Any, name: str) -> tuple[Limits, str]:
    """The limits and the help of a field; a class that only changes a default keeps those of its base."""
    for base in cls.__mro__:
        own = vars(base).get("__dataclass_fields__", {})
        if name in own and _MARK in own[name].metadata:
            limits, text = own[name].metadata[_MARK]
            return limits, text
    return ANY, ""


def check(instance: Any) -> None:
    """Raise unless each option of a dataclass instance is of its type and within its bounds; for `__post_init__`.

    Numbers of NumPy and torch become numbers of Python, and lists become tuples.

    Raises:
        NetLensError: It names the class, the option, the value, and what the value must be.
    """
    cls = type(instance)
    for one in options_of(cls):
        value = getattr(instance, one.name)
        fitted = _checked(f"{cls.__name__}: {one.name}", value, one.kind, one.limits)
        if fitted is not value:
            object.__setattr__(instance, one.name, fitted)


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
    return _checked(what, value, kind, Limits(least, most, above, below, tuple(choices)), hint)


def parse(cls: type[T], text: str, **given: Any) -> T:
    """An instance of a class from a text such as `n_steps=100,baselines=0.5`.

    Options are separated by commas, and the items of a list by slashes: `areas=0.05/0.1`. Whole numbers may have an x
    between them, as sizes do: `window=32x16`. Other words: `none`, `yes`, `no`.

    Args:
        cls: The class.
        text: The options that are given; the others have their defaults.
        given: Further options as values, which count where the text does not name them.
    """
    values = dict(given)
    named: set[str] = set()
    by_name = {one.name: one for one in options_of(cls)}
    for part in (part.strip() for part in text.split(",")):
        if not part:
            continue
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals:
            raise NetLensError(f"{cls.__name__}: {part!r} is no option; write it as name=value.")
        known(cls.__name__, [name], by_name)
        if name in named:
            raise NetLensError(f"{cls.__name__}: {name} is given twice.")
        named.add(name)
        values[name] = by_name[name].read(value)
    missing = [one.name for one in by_name.values() if one.required and one.name not in values]
    if missing:
        raise NetLensError(f"{cls.__name__} needs {missing[0]}; write {missing[0]}=value.")
    return cls(**values)


def split(text: str) -> list[tuple[str, str]]:
    """Names with their options, from a list such as `saliency,occlusion:window=32x16,stride=8,grad_cam`.

    A part that holds `=` and does not begin with `name:` belongs to the name before it.

    >>> split("saliency,occlusion:window=32x16,stride=8,grad_cam")
    [('saliency', ''), ('occlusion', 'window=32x16,stride=8'), ('grad_cam', '')]
    """
    found: list[tuple[str, str]] = []
    for part in (part.strip() for part in text.split(",")):
        if not part:
            continue
        head, equals, _ = part.partition("=")
        if equals and ":" not in head:
            if not found:
                raise NetLensError(f"{part!r} is an option without a name before it; write name:{part}.")
            name, options = found[-1]
            found[-1] = name, f"{options},{part}" if options else part
        else:
            name, _, options = part.partition(":")
            found.append((name.strip(), options))
    return found


def table(cls: type) -> list[Row]:
    """The options of a class in words, one row each."""
    rows = []
    for one in options_of(cls):
        default = "required" if one.required else spelled(one.default)
        rows.append(Row(one.name, one.words, default, str(one.limits), one.help))
    return rows


def spelled(value: Any, between: str = "/") -> str:
    """A value as `parse` reads it.

    >>> [spelled(value) for value in (None, True, 0.5, (32, 16))]
    ['none', 'yes', '0.5', '32/16']
    """
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, Mapping):
        return between.join(f"{name}:{spelled(one)}" for name, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return between.join(map(spelled, value))
    for kind, names in _NAMED.items():
        if isinstance(value, kind) or (isinstance(value, type) and issubclass(value, kind)):
            cls = value if isinstance(value, type) else type(value)
            return next((name for name, one in names.items() if one is cls), cls.__name__)
    return value if isinstance(value, str) else getattr(value, "__name__", repr(value))


def named(kind: type, names: Mapping[str, type]) -> None:
    """Let a text name an object of the type `kind`: each of these names means an instance with its defaults."""
    _NAMED[kind] = names


def known(what: str, given: Iterable[str], names: Iterable[str]) -> None:
    """Raise if one of the given names is not the name of an option, with the names that there are."""
    every = list(names)
    for name in given:
        if name not in every:
            near = f" Closest: {closest(str(name), every)}." if every else ""
            raise NetLensError(f"{what} has no option {name!r}; its options: {', '.join(every) or 'none'}.{near}")


class _MisfitError(Exception):
    """A value is not of a type, or not within its limits."""


def _checked(what: str, value: Any, kind: Any, limits: Limits, hint: str = "") -> Any:
    try:
        return _fitted(value, kind, limits)
    except _MisfitError:
        tail = f"; {hint}" if hint else ""
        raise NetLensError(f"{what} is {_shown(value)}, but must be {_said(kind, limits)}{tail}.") from None


def _fitted(value: Any, kind: Any, limits: Limits) -> Any:
    """The value as one of the type; raises `_MisfitError` where it is none."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in _UNIONS:
        # what already is of one of the types, as a tensor may be, is not turned into a number
        for one in sorted(inner, key=lambda one: not (isinstance(one, type) and isinstance(value, one))):
            try:
                return _fitted(value, one, limits)
            except _MisfitError:
                continue
        raise _MisfitError
    if kind is Any or isinstance(kind, TypeVar):
        return value
    if origin is Literal:
        return _sure(value, isinstance(value, str) and value in inner)
    if origin in (Sequence, tuple, list):
        return _items(value, origin, inner, limits)
    if origin is Mapping:
        pairs = _sure(value, isinstance(value, Mapping)).items()
        return {_fitted(name, inner[0], limits): _fitted(one, inner[1], limits) for name, one in pairs}
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
        raise _MisfitError
    return value


def _number(value: Any, kind: type, limits: Limits) -> Number:
    try:
        if isinstance(value, (str, bool, np.bool_)):
            raise _MisfitError
        if kind is int:
            number: Number = index(value)
        else:
            number = float(value) if math.isfinite(value) else math.nan
    except (TypeError, ValueError, OverflowError, RuntimeError):  # also of tensors that hold several numbers
        raise _MisfitError from None
    if math.isnan(number) or not limits.hold(number):
        raise _MisfitError
    return number


def _items(value: Any, origin: Any, inner: tuple[Any, ...], limits: Limits) -> Any:
    several = value.tolist() if isinstance(value, (np.ndarray, Tensor)) else value
    _sure(several, isinstance(several, Sequence) and not isinstance(several, (str, bytes)))
    if origin is tuple and inner[-1] is not Ellipsis:
        _sure(several, len(several) == len(inner))
        return tuple(_fitted(one, kind, limits) for one, kind in zip(several, inner, strict=True))
    items = [_fitted(one, inner[0], limits) for one in several]
    return items if origin is list else tuple(items)


def _said(kind: Any, limits: Limits) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in _UNIONS:
        # what may be anything else as well is told last
        *some, last = dict.fromkeys(_said(one, limits) for one in inner)
        return f"{', '.join(some)} or {last}" if some else last
    if origin is Literal or (kind is str and limits.choices):
        return f"one of {', '.join(map(repr, inner if origin is Literal else limits.choices))}"
    if origin is tuple and inner[-1] is not Ellipsis:
        return f"a list of {len(inner)}, each {_said(inner[0], limits)}"
    if origin in (Sequence, tuple, list):
        return f"a list, each {_said(inner[0], limits)}"
    if origin is Mapping:
        return f"a mapping from {_said(inner[0], limits)} to {_said(inner[1], limits)}"
    if origin is type:
        return f"a class of {getattr(inner[0], '__name__', inner[0])}"
    if origin is Callable or kind is Callable:
        return "a function"
    if kind in (int, float):
        return f"a {'whole' if kind is int else 'finite'} number{limits.phrase}"
    if len(_NAMED.get(kind, ())) in range(1, _FEW):
        return f"a {kind.__name__} ({', '.join(_NAMED[kind])})"
    words = {bool: "True or False", str: "a name", NoneType: "None", Any: "any object"}
    name = str(getattr(kind, "__name__", kind))
    return words.get(kind, f"{'an' if name[0] in 'AEIOU' else 'a'} {name}")


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    return f"the class {value.__name__}" if isinstance(value, type) else " ".join(reprlib.repr(value).split())


def _read(text: str, kind: Any, between: str) -> Any:
    """The value of the type that a text means; the text itself where it means none, which the check then refuses."""
    value = _value(text, kind, between)
    return text if value is MISSING else value


def _value(text: str, kind: Any, between: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in _UNIONS:
        # a name may be any text, so it is tried last; only a list of several items comes before it
        for one in sorted(inner, key=lambda one: (_is_list(one) and not _is_several(text, between), one is str)):
            value = _value(text, one, between)
            if value is not MISSING:
                return value
        return MISSING
    if kind is NoneType:
        return None if text.lower() == "none" else MISSING
    if kind is bool:
        return {"yes": True, "true": True, "no": False, "false": False}.get(text.lower(), MISSING)
    if kind in (int, float):
        try:
            return kind(text) if "_" not in text else MISSING
        except ValueError:
            return MISSING
    if origin is Mapping:
        return _weights(text, inner[1], between)
    if origin in (Sequence, tuple, list):
        return _several(text, inner[0], between)
    choice = inner[0] if origin is type else kind
    if choice in _NAMED:
        name, _, options = text.partition(":")
        if name not in _NAMED[choice] or (origin is type and options):
            return MISSING
        return _NAMED[choice][name] if origin is type else parse(_NAMED[choice][name], options)
    return text if kind is str or kind is Any or origin is Literal else MISSING


def _is_list(kind: Any) -> bool:
    return get_origin(kind) in (Sequence, tuple, list)


def _is_several(text: str, between: str) -> bool:
    return between in text or all(part.strip().isdecimal() for part in text.lower().split("x"))


def _several(text: str, item: Any, between: str) -> Any:
    whole = text.lower().split("x")
    if item is int and len(whole) > 1 and all(part.strip().isdecimal() for part in whole):
        return tuple(int(part) for part in whole)
    parts = [part.strip() for part in text.split(between)]
    values = [_value(part, item, between) for part in parts]
    return MISSING if MISSING in values or not all(parts) else tuple(values)


def _weights(text: str, item: Any, between: str) -> Any:
    """A mapping from names to values, of which those that are not given are 1: `layer2,layer3:0.5`."""
    parts = text.split(between)
    if ":" not in text:
        return MISSING
    pairs = [part.rpartition(":") if ":" in part else (part, ":", "1") for part in parts]
    weights = {name.strip(): _read(value.strip(), item, between) for name, _, value in pairs}
    if len(weights) < len(pairs):
        raise NetLensError(f"a name is given twice in {text!r}.")
    return weights

"""Text: instances from texts with names and options, values as text, and options as tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from types import NoneType
from typing import Any, NamedTuple, TypeVar

from netlens.errors import NetLensError
from netlens.options._declared import Option, options_of
from netlens.options._kinds import NAMED
from netlens.options._values import check_names
from netlens.options.forms import ClassOf, Either, Fixed, Function, Listed, Mapped, Words, form_of

T = TypeVar("T")


class Row(NamedTuple):
    """An option in words, as a row of a table."""

    name: str
    type: str
    default: str
    bounds: str
    help: str


def snake_case(name: str) -> str:
    """The name of a class in the spelling of options and functions.

    >>> snake_case("GuidedGradCAM"), snake_case("SensitivityN")
    ('guided_grad_cam', 'sensitivity_n')
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def parse(cls: type[T], text: str, **options: Any) -> T:
    """An instance of a class from a text such as `n_steps=100,baselines=blur`.

    Options are separated by commas, and the items of a list by slashes: `areas=0.05/0.1`. Whole numbers may have an x
    between them, as sizes do: `window=32x16`. Other words: `none`, `yes`, `no`.

    Args:
        cls: The class.
        text: The options that are given; the others have their defaults.
        options: Further options as values; an option in the text replaces the one given here.
    """
    values = dict(options)
    named: set[str] = set()
    by_name = {one.name: one for one in options_of(cls)}
    for part in (part.strip() for part in text.split(",")):
        if not part:
            continue
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals:
            raise NetLensError(f"{cls.__name__}: {part!r} is no option; write it as name=value.")
        check_names(cls.__name__, [name], by_name)
        if name in named:
            raise NetLensError(f"{cls.__name__}: {name} is given twice.")
        named.add(name)
        values[name] = read(by_name[name], value)
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
    pairs: list[tuple[str, str]] = []
    for part in (part.strip() for part in text.split(",")):
        if not part:
            continue
        head, equals, _ = part.partition("=")
        if equals and ":" not in head:
            if not pairs:
                raise NetLensError(f"{part!r} is an option without a name before it; write name:{part}.")
            name, options = pairs[-1]
            pairs[-1] = name, f"{options},{part}" if options else part
        else:
            name, _, options = part.partition(":")
            pairs.append((name.strip(), options))
    return pairs


def table(cls: type) -> list[Row]:
    """The options of a class in words, one row each."""
    rows = []
    for one in options_of(cls):
        default = "required" if one.required else spelled(one.default)
        rows.append(Row(one.name, one.words, default, str(one.limits), one.help))
    return rows


def read(option: Option, text: str, between: str = "/") -> Any:
    """The value that a text means for an option, unchecked. `between` separates the items of a list."""
    return _read(text.strip(), option.kind, between)


def spelled(value: Any, between: str = "/") -> str:
    """A value as a text that `parse` reads.

    >>> [spelled(value) for value in (None, True, 0.5, (32, 16))]
    ['none', 'yes', '0.5', '32/16']
    """
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, Mapping):
        return between.join(f"{name}:{spelled(one)}" for name, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return between.join(map(spelled, value))
    for kind, names in NAMED.items():
        if isinstance(value, kind) or (isinstance(value, type) and issubclass(value, kind)):
            cls = value if isinstance(value, type) else type(value)
            return next((name for name, one in names.items() if one is cls), cls.__name__)
    return value if isinstance(value, str) else getattr(value, "__name__", repr(value))


def _read(text: str, kind: Any, between: str) -> Any:
    """The value of the type `kind` that a text means; if it means none, the text itself, which the check refuses."""
    value = _value(text, kind, between)
    return text if value is MISSING else value


def _value(text: str, kind: Any, between: str) -> Any:
    match form_of(kind):
        case Either(kinds):
            values = (_value(text, one, between) for one in sorted(kinds, key=lambda one: _turn(one, text, between)))
            return next((value for value in values if value is not MISSING), MISSING)
        case Words(words):
            return text if text in words else MISSING
        case Fixed(kinds):
            return _several(text, kinds[0], between)
        case Listed(item):
            return _several(text, item, between)
        case Mapped(_, item):
            return _weights(text, item, between)
        case ClassOf(base):
            return NAMED.get(base, {}).get(text, MISSING)
        case Function():
            return MISSING
    if kind in (NoneType, Any) and text.lower() == "none":
        return None
    if kind is bool:
        return {"yes": True, "true": True, "no": False, "false": False}.get(text.lower(), MISSING)
    if kind in (int, float):
        try:
            return kind(text) if "_" not in text else MISSING
        except ValueError:
            return MISSING
    name, _, options = text.partition(":")
    if name in NAMED.get(kind, {}):
        return parse(NAMED[kind][name], options)
    return text if kind is str or kind is Any else MISSING


def _turn(kind: Any, text: str, between: str) -> int:
    """The order in which kinds are tried: names come late, as any text may be a name; lists of one item come last."""
    form = form_of(kind)
    if isinstance(form, Fixed | Listed):
        several = between in text or all(part.strip().isdecimal() for part in text.lower().split("x"))
        return 1 if several else 3
    return 2 if kind is str else 0 if isinstance(form, Mapped) else 1


def _several(text: str, item: Any, between: str) -> Any:
    whole = text.lower().split("x")
    if item is int and len(whole) > 1 and all(part.strip().isdecimal() for part in whole):
        return tuple(int(part) for part in whole)
    parts = [part.strip() for part in text.split(between)]
    values = [_value(part, item, between) for part in parts]
    return MISSING if MISSING in values or not all(parts) else tuple(values)


def _weights(text: str, item: Any, between: str) -> Any:
    """A mapping from names to values, such as `layer2,layer3:0.5`. A name without a value has the value 1."""
    parts = text.split(between)
    if ":" not in text:
        return MISSING
    pairs = [part.rpartition(":") if ":" in part else (part, ":", "1") for part in parts]
    weights = {name.strip(): _read(value.strip(), item, between) for name, _, value in pairs}
    if len(weights) < len(pairs):
        raise NetLensError(f"a name is given twice in {text!r}.")
    return weights

"""Kinds: the types of annotations in words, and the objects that a text can give by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any

from netlens.options._limits import Limits
from netlens.options.forms import ClassOf, Either, Fixed, Function, Listed, Mapped, Plain, Words, form_of

FEW = 9  # so many names, or more, are not listed
NAMED: dict[type, Mapping[str, type]] = {}
"""For each type whose objects a text can give by name: the classes by name."""


def named(kind: type, names: Mapping[str, type]) -> None:
    """Let a text name an object of the type `kind`: each of these names means an instance with its defaults."""
    NAMED[kind] = names


def requirement(kind: Any, limits: Limits) -> str:
    """What a value must be, for an error.

    >>> requirement(int | tuple[int, ...] | None, Limits(least=1))
    'a whole number of at least 1, None or a list, each a whole number of at least 1'
    """
    match form_of(kind, limits.choices):
        case Either(kinds):
            # a list comes last, so that the sentence ends with what the items must be
            ordered = sorted(kinds, key=lambda one: isinstance(form_of(one), Fixed | Listed | Mapped))
            *first, last = dict.fromkeys(requirement(one, limits) for one in ordered)
            return f"{', '.join(first)} or {last}" if first else last
        case Words(words):
            return f"{'one of ' if len(words) > 1 else ''}{', '.join(map(repr, words))}"
        case Fixed(kinds):
            return f"a list of {len(kinds)}, each {requirement(kinds[0], limits)}"
        case Listed(item):
            return f"a list, each {requirement(item, limits)}"
        case Mapped(name, value):
            return f"a mapping from {requirement(name, limits)} to {requirement(value, limits)}"
        case ClassOf(base):
            return f"a class of {_name(base)}"
        case Function():
            return "a function"
        case Plain(plain) if plain in (int, float):
            return f"a {'whole' if plain is int else 'finite'} number{limits.phrase}"
    if len(NAMED.get(kind, ())) in range(1, FEW):
        return f"a {_name(kind)} ({', '.join(NAMED[kind])})"
    others = {bool: "True or False", str: "a name", NoneType: "None", Any: "any object"}
    return others.get(kind, f"{'an' if _name(kind)[0] in 'AEIOU' else 'a'} {_name(kind)}")


def short(kind: Any, limits: Limits) -> str:
    """A type in few words, for a table.

    >>> short(int | tuple[int, ...] | None, Limits(least=1))
    'whole number, list of whole numbers, none'
    """
    match form_of(kind, limits.choices):
        case Either(kinds):
            return ", ".join(dict.fromkeys(short(one, limits) for one in kinds))
        case Words(words):
            return ", ".join(words)
        case Fixed(kinds):
            return f"{len(kinds)} {short(kinds[0], limits)}s"
        case Listed(item):
            return f"list of {' or '.join(f'{one}s' for one in short(item, limits).split(', '))}"
        case Mapped(name, value):
            return f"{short(name, limits)}: {short(value, limits)}"
        case ClassOf(base):
            return f"class of {_name(base)}"
        case Function():
            return "function"
    others = {int: "whole number", float: "number", bool: "yes, no", str: "name", NoneType: "none", Any: "any"}
    return others.get(kind, _name(kind))


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", kind))

"""Kinds: types as annotations say them, in words; and the objects that can be given by a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from netlens.options._limits import Limits

FEW = 9  # names beyond it are too many to list
UNIONS = (Union, UnionType)
NAMED: dict[type, Mapping[str, type]] = {}
"""For each type that a text can name objects of, the classes by their names."""


def named(kind: type, names: Mapping[str, type]) -> None:
    """Let a text name an object of the type `kind`: each of these names means an instance with its defaults."""
    NAMED[kind] = names


def said(kind: Any, limits: Limits) -> str:
    """What a value must be, for an error.

    >>> said(int | Sequence[int] | None, Limits(least=1))
    'a whole number of at least 1, None or a list, each a whole number of at least 1'
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in UNIONS:
        # a list comes last, so that what its items must be ends the sentence
        lists: tuple[Any, ...] = (Sequence, tuple, list, Mapping)
        kinds = sorted(inner, key=lambda one: get_origin(one) in lists)
        *some, last = dict.fromkeys(said(one, limits) for one in kinds)
        return f"{', '.join(some)} or {last}" if some else last
    if origin is Literal or (kind is str and limits.choices):
        return f"one of {', '.join(map(repr, inner if origin is Literal else limits.choices))}"
    if origin is tuple and inner[-1] is not Ellipsis:
        return f"a list of {len(inner)}, each {said(inner[0], limits)}"
    if origin in (Sequence, tuple, list):
        return f"a list, each {said(inner[0], limits)}"
    if origin is Mapping:
        return f"a mapping from {said(inner[0], limits)} to {said(inner[1], limits)}"
    if origin is type:
        return f"a class of {getattr(inner[0], '__name__', inner[0])}"
    if origin is Callable or kind is Callable:
        return "a function"
    if kind in (int, float):
        return f"a {'whole' if kind is int else 'finite'} number{limits.phrase}"
    if len(NAMED.get(kind, ())) in range(1, FEW):
        return f"a {kind.__name__} ({', '.join(NAMED[kind])})"
    words = {bool: "True or False", str: "a name", NoneType: "None", Any: "any object"}
    name = str(getattr(kind, "__name__", kind))
    return words.get(kind, f"{'an' if name[0] in 'AEIOU' else 'a'} {name}")


def short(kind: Any, limits: Limits) -> str:
    """A type in few words, for a table.

    >>> short(int | Sequence[int] | None, Limits(least=1))
    'whole number, list of whole numbers, none'
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in UNIONS:
        return ", ".join(dict.fromkeys(short(one, limits) for one in inner))
    if origin is Literal or (kind is str and limits.choices):
        return ", ".join(inner if origin is Literal else limits.choices)
    if origin is tuple and inner[-1] is not Ellipsis:
        return f"{len(inner)} {short(inner[0], limits)}s"
    if origin in (Sequence, tuple, list):
        return f"list of {' or '.join(f'{one}s' for one in short(inner[0], limits).split(', '))}"
    if origin is Mapping:
        return f"{short(inner[0], limits)}: {short(inner[1], limits)}"
    if origin is type:
        return f"class of {getattr(inner[0], '__name__', inner[0])}"
    if origin is Callable or kind is Callable:
        return "function"
    words = {int: "whole number", float: "number", bool: "yes, no", str: "name", NoneType: "none", Any: "any"}
    return words.get(kind, str(getattr(kind, "__name__", kind)))

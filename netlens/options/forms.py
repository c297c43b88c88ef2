"""Forms: the kinds of annotations, distinguished once for checks, texts, errors and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin


class Either(NamedTuple):
    """A value of one of several types: `int | None`."""

    kinds: tuple[Any, ...]


class Words(NamedTuple):
    """One of several names: `Literal["a", "b"]`, or a text with choices."""

    words: tuple[str, ...]


class Fixed(NamedTuple):
    """As many items as there are types: `tuple[int, int]`."""

    kinds: tuple[Any, ...]


class Listed(NamedTuple):
    """Any number of items of one type: `Sequence[int]`, `tuple[int, ...]`, `list[int]`."""

    item: Any
    mutable: bool


class Mapped(NamedTuple):
    """Names with values: `Mapping[str, float]`."""

    name: Any
    value: Any


class ClassOf(NamedTuple):
    """A class itself: `type[Param]`."""

    base: Any


class Function(NamedTuple):
    """Anything that can be called: `Callable[[Tensor], Tensor]`."""


class Plain(NamedTuple):
    """An instance of a class, or any object."""

    kind: Any


Form = Either | Words | Fixed | Listed | Mapped | ClassOf | Function | Plain


def form_of(kind: Any, choices: tuple[str, ...] = ()) -> Form:
    """The form of a type. `choices` are the allowed strings; if it is empty, every string is allowed.

    >>> form_of(int | None)
    Either(kinds=(<class 'int'>, <class 'NoneType'>))
    >>> form_of(str, ("a", "b"))
    Words(words=('a', 'b'))
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return Either(inner)
    if origin is Literal or (kind is str and choices):
        return Words(inner or choices)
    if origin is tuple and inner[-1] is not Ellipsis:
        return Fixed(inner)
    if origin in (Sequence, tuple, list):
        return Listed(inner[0], origin is list)
    if origin is Mapping:
        return Mapped(*inner)
    if origin is type:
        return ClassOf(inner[0])
    return Function() if Callable in (origin, kind) else Plain(kind)


def alternatives(kind: Any) -> tuple[Any, ...]:
    """The types of a union; for any other type, that type alone."""
    form = form_of(kind)
    return form.kinds if isinstance(form, Either) else (kind,)

"""What is worked out of a flat model and kept with it, until its network changes."""

from __future__ import annotations

from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

K = TypeVar("K")
V = TypeVar("V")

_MEMOS: WeakSet[Memo[Any, Any]] = WeakSet()


class Memo(WeakKeyDictionary[K, V]):
    """Something that is worked out once for each flat model, and lives as long as the model does."""

    def __init__(self) -> None:
        super().__init__()
        _MEMOS.add(self)

    # a set asks for it, and two memos are never the same
    __hash__ = object.__hash__
    __eq__ = object.__eq__


def forget(flat: object) -> None:
    """Drop all that was worked out for this flat model."""
    for memo in list(_MEMOS):
        memo.pop(flat, None)

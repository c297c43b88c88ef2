"""Memos: they keep what is computed from a network, a program or a layer, as long as that object lives."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary, WeakSet

K = TypeVar("K")
V = TypeVar("V")

_MEMOS: WeakSet[Memo[Any, Any]] = WeakSet()


class Memo(Generic[K, V]):
    """A bounded cache of answers to questions about objects. It drops the answers of an object that no longer lives.

    An answer that refers to its object keeps the object alive.

    Args:
        most: The number of answers to keep for one object, at least 1. The least recently used answer is dropped first.

    Example:
        >>> class Thing: pass
        >>> memo, thing = Memo[Thing, int](most=2), Thing()
        >>> memo.of(thing, "size", lambda: 3), memo.of(thing, "size", lambda: 4)
        (3, 3)
    """

    def __init__(self, most: int = 32) -> None:
        self.most = most
        self._answers: WeakKeyDictionary[K, OrderedDict[Hashable, V]] = WeakKeyDictionary()
        _MEMOS.add(self)

    def of(self, owner: K, question: Hashable, make: Callable[[], V]) -> V:
        """The answer to a question about an object. `make` computes it the first time."""
        answers = self._answers.get(owner)
        if answers is None:
            answers = self._answers.setdefault(owner, OrderedDict())
        try:
            answers.move_to_end(question)
            return answers[question]
        except KeyError:  # the memo holds no answer, or another thread has dropped it
            answer = answers[question] = make()
            while len(answers) > self.most:
                answers.popitem(last=False)
            return answer

    def answer(self, owner: K, question: Hashable = None) -> V | None:
        """The answer that the memo holds; None if it holds none."""
        return self._answers.get(owner, OrderedDict()).get(question)

    def all(self, owner: K) -> list[V]:
        """All answers about an object that the memo holds. The latest used is the last."""
        return list(self._answers.get(owner, OrderedDict()).values())

    def note(self, owner: K, question: Hashable, answer: V) -> None:
        """Replace the answer to a question."""
        self.drop(owner, question)
        self.of(owner, question, lambda: answer)

    def drop(self, owner: K, question: Hashable) -> None:
        """Drop one answer, if there is one."""
        self._answers.get(owner, OrderedDict()).pop(question, None)

    def forget(self, owner: K) -> None:
        """Drop all answers about an object."""
        self._answers.pop(owner, None)

    def clear(self) -> None:
        """Drop all answers about all objects."""
        self._answers.clear()


def forget(owner: object) -> None:
    """Drop the answers about this object from all memos."""
    for memo in list(_MEMOS):
        memo.forget(owner)


def forget_all() -> None:
    """Drop all answers of all memos, because a setting that any of them may depend on has changed."""
    for memo in list(_MEMOS):
        memo.clear()

"""What is worked out of a network, a program or a layer, and kept while that lives; the latest answers alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary, WeakSet

K = TypeVar("K")
V = TypeVar("V")

_MEMOS: WeakSet[Memo[Any, Any]] = WeakSet()


class Memo(Generic[K, V]):
    """Answers about objects: for each object the latest answers, each by the question that it answers.

    An object is not kept alive by its answers, unless one of them holds the object.

    Args:
        most: Answers for one object, at least 1; the one that was asked for the longest ago goes first.

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
        """The answer to a question about an object; `make` gives it the first time."""
        answers = self._answers.get(owner)
        if answers is None:
            answers = self._answers.setdefault(owner, OrderedDict())
        try:
            answers.move_to_end(question)
            return answers[question]
        except KeyError:  # it was never asked, or another thread dropped it
            answer = answers[question] = make()
            while len(answers) > self.most:
                answers.popitem(last=False)
            return answer

    def known(self, owner: K, question: Hashable = None) -> V | None:
        """The answer, if the question was asked before."""
        return self._answers.get(owner, OrderedDict()).get(question)

    def note(self, owner: K, question: Hashable, answer: V) -> None:
        """Replace the answer to a question."""
        self.drop(owner, question)
        self.of(owner, question, lambda: answer)

    def drop(self, owner: K, question: Hashable) -> None:
        """Forget one answer, if there is one."""
        self._answers.get(owner, OrderedDict()).pop(question, None)

    def forget(self, owner: K) -> None:
        """Forget all answers about an object."""
        self._answers.pop(owner, None)


def forget(owner: object) -> None:
    """Drop all that was worked out for this object, whoever worked it out."""
    for memo in list(_MEMOS):
        memo.forget(owner)

"""The names of a network's classes, and how a person's spelling finds one."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import SupportsIndex, overload

from netlens.errors import AmbiguousClass, ClassNotFound, NetLensError, closest

_SHOWN = 5


class ClassNames(Sequence[str]):
    """The names of a network's classes, in the order of its outputs.

    >>> names = ClassNames(["tench", "great grey owl", "bald eagle"])
    >>> names[1], names.index("Great_Grey_Owl"), names.index("eagle"), names.index("2")
    ('great grey owl', 1, 2, 2)
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names) if isinstance(names, Iterable) else (names,)
        wrong = next((name for name in self._names if not isinstance(name, str)), None)
        if wrong is not None:
            raise NetLensError(f"the classes are named by a list of texts, in which {wrong!r} is none.")

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return self._names[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __eq__(self, other: object) -> bool:
        return self._names == other._names if isinstance(other, ClassNames) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._names)

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self._names[:_SHOWN]))
        return f"ClassNames({len(self)}: {shown}{', ...' if len(self) > _SHOWN else ''})"

    def index(self, name: str | SupportsIndex) -> int:  # type: ignore[override]
        """The index of the one class that is meant.

        An integer (also as text, or a 0-d tensor) must be in range. Text is tried as a whole name, then as whole words
        in one, then as a part of one; case does not matter, and underscores are spaces. Raises `ClassNotFound`, or
        `AmbiguousClass` where the first of these readings that fits at all fits several classes.
        """
        if not isinstance(name, str):
            return self._checked(name)
        wanted = _plain(name)
        readings: tuple[Callable[[str], object], ...] = (
            wanted.__eq__,
            re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)").search,
            lambda known: wanted in known,
        )
        plain = [_plain(known) for known in self._names]
        if re.fullmatch(r"[+-]?[0-9]+", wanted) and wanted not in plain:
            return self._checked(int(wanted))
        for fits in readings if wanted else ():
            found = [index for index, known in enumerate(plain) if fits(known)]
            if len(found) == 1:
                return found[0]
            if found:
                raise AmbiguousClass(self._several(name, found))
        if not wanted:
            raise ClassNotFound("the class name is empty; give a name or an index.")
        raise ClassNotFound(f"no class is named {name!r}. Closest: {closest(wanted, plain)}.")

    def _checked(self, number: SupportsIndex) -> int:
        try:
            if isinstance(number, bool):
                raise TypeError
            index = operator.index(number)
        except TypeError:
            raise ClassNotFound(f"{number!r} is no class; give an index or a name.") from None
        if not 0 <= index < len(self):
            raise ClassNotFound(f"class {index} is out of range; the {len(self)} classes are 0 to {len(self) - 1}.")
        return index

    def _several(self, name: str, found: list[int]) -> str:
        shown = ", ".join(f"{index} {self._names[index]!r}" for index in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return f"{name!r} fits {len(found)} classes: {shown}{more}; give a whole name or the index."


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


@functools.cache
def imagenet() -> ClassNames:
    """The 1000 classes of ImageNet in the order of torchvision's classifiers."""
    from torchvision.models import AlexNet_Weights

    return ClassNames(AlexNet_Weights.DEFAULT.meta["categories"])

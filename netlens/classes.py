"""The names of a network's classes, and the search for the class that a person means."""

from __future__ import annotations

import functools
import operator
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import SupportsIndex, overload

from netlens.errors import AmbiguousClass, ClassNotFound, NetLensError, closest

_SHOWN = 5


class ClassNames(Sequence[str]):
    """The names of a network's classes, in the order of its outputs.

    Args:
        names: One text per class.

    Raises:
        NetLensError: A name is no text.

    Example:
        >>> names = ClassNames(["tench", "great grey owl", "bald eagle"])
        >>> names[1], names.index("Great_Grey_Owl"), names.index("eagle"), names.index("2")
        ('great grey owl', 1, 2, 2)
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names) if isinstance(names, Iterable) else (names,)
        wrong = next((name for name in self._names if not isinstance(name, str)), None)
        if wrong is not None:
            raise NetLensError(f"classes must be a list of texts, but {wrong!r} is no text.")

    @classmethod
    def of(cls, names: ClassNames | Iterable[str] | os.PathLike[str]) -> ClassNames:
        """Class names from a list of texts, or from a text file with one name per line.

        Args:
            names: The names, or the path of the file.

        Raises:
            NetLensError: The file cannot be read or is empty, or a name is no text.

        Example:
            >>> ClassNames.of(["cat", "dog"])
            ClassNames(2: 'cat', 'dog')
        """
        if isinstance(names, ClassNames):
            return names
        return cls(_lines(Path(names)) if isinstance(names, (str, os.PathLike)) else names)

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
        """The index of the class that a person means.

        A text is compared with whole names first, then with whole words of names, then with parts of names. Case does
        not matter, and underscores count as spaces.

        Args:
            name: A text; or an index as an integer, as a text or as a tensor of no dimensions.

        Raises:
            ClassNotFound: No class fits, or the index is out of range.
            AmbiguousClass: The first comparison that finds a class finds several.
        """
        if not isinstance(name, str):
            return self._checked(name)
        text = _plain(name)
        comparisons: tuple[Callable[[str], object], ...] = (
            text.__eq__,
            re.compile(rf"(?<!\w){re.escape(text)}(?!\w)").search,
            lambda candidate: text in candidate,
        )
        plain_names = [_plain(candidate) for candidate in self._names]
        if re.fullmatch(r"[+-]?[0-9]+", text) and text not in plain_names:
            return self._checked(int(text))
        for fits in comparisons if text else ():
            indices = [index for index, candidate in enumerate(plain_names) if fits(candidate)]
            if len(indices) == 1:
                return indices[0]
            if indices:
                raise AmbiguousClass(self._ambiguity(name, indices))
        if not text:
            raise ClassNotFound("the class name is empty; give a name or an index.")
        raise ClassNotFound(f"no class is named {name!r}. Closest: {closest(text, plain_names)}.")

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

    def _ambiguity(self, name: str, indices: list[int]) -> str:
        shown = ", ".join(f"{index} {self._names[index]!r}" for index in indices[:_SHOWN])
        more = f" and {len(indices) - _SHOWN} more" if len(indices) > _SHOWN else ""
        return f"{name!r} fits {len(indices)} classes: {shown}{more}; give a whole name or the index."


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise NetLensError(f"{path} cannot be read as text ({error}); give a file with one name per line.") from error
    if not lines:
        raise NetLensError(f"{path} holds no name; give a file with one name per line.")
    return lines


def _plain(name: str) -> str:
    """A name in lower case, with single spaces instead of underscores and white space."""
    return " ".join(name.replace("_", " ").casefold().split())


@functools.cache
def imagenet() -> ClassNames:
    """The 1000 classes of ImageNet in the order of torchvision's classifiers."""
    from torchvision.models import AlexNet_Weights

    return ClassNames(AlexNet_Weights.DEFAULT.meta["categories"])

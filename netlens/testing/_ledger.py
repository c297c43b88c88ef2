"""The ledger: what becomes of claims. pytest's plugin opens one for each test; without pytest, there is a plain one.

This file imports neither torch nor pictures, because the plugin is imported in every run of pytest.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, final

from netlens import files

_LONGEST = 120  # characters of a test's name in the name of a file


@final
@dataclass(frozen=True)
class View:
    """A picture of a claim on a page.

    Args:
        src: Its address, which holds its data.
        width: Its width, in pixels.
        height: Its height, in pixels.
        title: The line above it.
        note: The line below.
    """

    src: str
    width: int
    height: int
    title: str
    note: str


@final
@dataclass(frozen=True)
class Entry:
    """What a page says of a claim, in texts and numbers that travel between processes.

    Args:
        name: The name of the assertion.
        sentence: What it claims.
        quantity: What is measured.
        holds: Whether it holds.
        measured: The measured number, as a text.
        wanted: The bound, as a text.
        detail: More of the measurement: of which image, out of how many.
        views: Rows of pictures, one row for each image.
        look: What to look at in them.
        saved: The file of the picture of a claim that does not hold; empty if there is none.
        why: Why there is no picture; empty if there is one.
    """

    name: str
    sentence: str
    quantity: str
    holds: bool
    measured: str
    wanted: str
    detail: str
    views: tuple[tuple[View, ...], ...]
    look: str
    saved: str = ""
    why: str = ""

    def packed(self) -> dict[str, Any]:
        """The entry as values of JSON."""
        return asdict(self)

    @classmethod
    def unpacked(cls, values: dict[str, Any]) -> Entry:
        """The inverse of `packed`."""
        views = tuple(tuple(View(**view) for view in row) for row in values["views"])
        return cls(**{**values, "views": views})


@final
@dataclass(eq=False)  # two ledgers are never the same one
class Ledger:
    """Where claims are written down, and where the pictures of those that do not hold are saved.

    Args:
        folder: Gives the folder of the pictures; it is asked when the first picture is saved.
        test: The test that makes the claims; empty without pytest.
        draws: Whether claims that hold are drawn, too.
    """

    folder: Callable[[], Path]
    test: str = ""
    draws: bool = False
    entries: list[Entry] = field(default_factory=list)

    def save(self, name: str, data: bytes) -> Path:
        """Write a picture into the folder, under a name that no other file has.

        A file that holds the same picture already serves again, so that a test that fails every day fills no folder.

        Raises:
            OSError: The folder or the file cannot be written.
        """
        folder = self.folder()
        folder.mkdir(parents=True, exist_ok=True)
        words = re.sub(r"[^\w.]+", "-", self.test).strip("-.")[-_LONGEST:]
        stem = f"{words}-{name}" if words else name
        for number in count(1):
            path = folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")
            if _reserved(path):
                return _filled(path, data)
            if path.is_file() and path.read_bytes() == data:
                return path
        raise AssertionError  # count() has no end


def _reserved(path: Path) -> bool:
    """Whether there was no such file; now there is an empty one, which no other process takes."""
    try:
        path.open("xb").close()
    except FileExistsError:
        return False
    return True


def _filled(path: Path, data: bytes) -> Path:
    try:
        return files.write(path, data)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@cache
def new_folder() -> Path:
    """A folder for this process, which no other user can have prepared."""
    return Path(tempfile.mkdtemp(prefix="netlens-failures-"))


_PLAIN = Ledger(new_folder)
_open: list[Ledger] = [_PLAIN]


def current() -> Ledger:
    """The ledger of the running test; a plain one without pytest, which draws only what fails."""
    return _open[-1]


@contextmanager
def opened(ledger: Ledger) -> Iterator[Ledger]:
    """Within the block, claims go to this ledger."""
    _open.append(ledger)
    try:
        yield ledger
    finally:
        _open.remove(ledger)

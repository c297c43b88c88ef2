"""The page of all claims of a run of pytest: one file, whose pictures are within."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final
from urllib.parse import quote

from markupsafe import Markup, escape

from netlens import files, pages
from netlens.testing._ledger import Entry

INDEX = "index.html"
GENERATOR = "netlens claims"
_TEMPLATES = Path(__file__).with_name("pages")


@final
@dataclass(frozen=True)
class Tested:
    """A test and its claims.

    Args:
        test: The id of the test, as pytest writes it.
        outcome: What pytest says of it, such as "passed" or "xfailed".
        entries: Its claims, in order.
    """

    test: str
    outcome: str
    entries: tuple[Entry, ...]

    @property
    def holds(self) -> bool:
        """Whether all claims hold."""
        return all(entry.holds for entry in self.entries)


def is_ours(path: Path) -> bool:
    """Whether a file is such a page."""
    return pages.is_page(path, GENERATOR)


def write_page(folder: Path, tests: Sequence[Tested]) -> Path:
    """Write the page into a folder, and return it. First come the tests with claims that do not hold.

    Raises:
        OSError: The page cannot be written.
    """
    jinja = pages.environment(_TEMPLATES, GENERATOR)
    jinja.filters |= {"link": lambda test: quote(test, safe="/:[]"), "breakable": _breakable}
    entries = [entry for test in tests for entry in test.entries]
    text = jinja.get_template("claims.html").render(
        tests=sorted(tests, key=lambda test: test.holds),
        wrong=[test for test in tests if not test.holds],
        count=len(entries),
        holding=sum(entry.holds for entry in entries),
    )
    # a test's id may hold what is no text
    return files.write(folder / INDEX, text.encode("utf-8", "replace"))


def _breakable(text: str) -> Markup:
    """A text that may break between the words of a name, such as those of `GradCAM` or of `test_it`."""
    return Markup("<wbr>").join(map(escape, re.split(r"(?<=[a-z])(?=[A-Z])|(?<=[_/:])(?=[^_/:])", text)))

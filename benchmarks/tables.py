"""Tables in the docs: the results of a benchmark go between two marks of one page."""

from __future__ import annotations

import re
from pathlib import Path


def read_between(page: Path, mark: str) -> str:
    """What lies between the two marks of a page."""
    begin, end = f"<!-- {mark}: begin -->\n", f"<!-- {mark}: end -->"
    return page.read_text().partition(begin)[2].partition(end)[0]


def write_between(page: Path, mark: str, text: str) -> None:
    """Put `text` between `<!-- mark: begin -->` and `<!-- mark: end -->` of a Markdown page."""
    begin, end = (re.escape(f"<!-- {mark}: {side} -->") for side in ("begin", "end"))
    content, count = re.subn(
        f"({begin}\n).*?\n?({end})", lambda match: match[1] + text + "\n" + match[2], page.read_text(), flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"{page} has no pair of marks for {mark!r}.")
    page.write_text(content)

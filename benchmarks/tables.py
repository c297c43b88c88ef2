"""Tables in the docs: what a benchmark has measured goes between two marks of a page, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path


def write_between(page: Path, mark: str, text: str) -> None:
    """Put `text` between `<!-- mark: begin -->` and `<!-- mark: end -->` of a Markdown page."""
    begin, end = (re.escape(f"<!-- {mark}: {side} -->") for side in ("begin", "end"))
    content, count = re.subn(
        f"({begin}\n).*?\n?({end})", lambda found: found[1] + text + "\n" + found[2], page.read_text(), flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"{page} has no pair of marks for {mark!r}.")
    page.write_text(content)

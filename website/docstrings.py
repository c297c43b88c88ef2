"""Docstrings as Sphinx reads them. They are written for `help()`: `code`, Markdown tables, and |x| for a magnitude."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

PUBLIC = Path(__file__).parents[1] / "docs" / "public.md"


def names_of_rooms(public: str) -> dict[str, list[str]]:
    """The public names by room, as docs/public.md lists them between marks."""
    marked = re.findall(r"<!-- (netlens[\w.]*): begin -->\n(.*?)<!-- \1: end -->", public, flags=re.DOTALL)
    return {room: re.findall(r"`(\w+)`", names) for room, names in marked}


@cache
def _links() -> Mapping[str, str]:
    """Public classes and where they are described. Names in lower case are left out: arguments have these, too."""
    names_by_room = names_of_rooms(PUBLIC.read_text(encoding="utf-8"))
    return {
        name: f"{room}.{name}"
        for room, names in sorted(names_by_room.items(), key=lambda item: len(item[0]))
        for name in names
        if re.match(r"[A-Z]+[a-z]\w+$", name)
    }


def as_rest(lines: Sequence[str]) -> list[str]:
    """The lines of a docstring in reStructuredText.

    >>> as_rest(["The mean of |x|, see `steps`."])
    ['The mean of \\\\|x\\\\|, see ``steps``.']
    """
    return list(_translated(iter([*lines, ""])))[:-1]


def _translated(lines: Iterator[str]) -> Iterator[str]:
    table: list[str] = []
    example = False
    for line in lines:
        if re.match(r" *\|.*\|$", line):
            table.append(line)
            continue
        if table:
            yield from _table(table)
            table = []
        example = line.strip() != "" and (example or line.lstrip().startswith(">>>"))
        yield line if example else _marked(line)


def _marked(line: str) -> str:
    """A line with its code marked as code, or as a link if it names a class, and everything else as it reads."""
    pieces = re.split(r"(:\w[\w:]*:`[^`]*`|``[^`]+``|`[^`]+`)", line)
    return "".join(_plain(piece) if i % 2 == 0 else _code(piece) for i, piece in enumerate(pieces))


def _plain(text: str) -> str:
    return re.sub(r"(?<!\\)(\||\*(?=\S)|(?<=\w)_(?!\w))", r"\\\1", text)


def _code(text: str) -> str:
    if text.startswith((":", "``")):
        return text
    home = _links().get(text.strip("`"))
    return f"``{text.strip('`')}``" if home is None else f":py:obj:`{text.strip('`')} <{home}>`"


def _table(lines: Sequence[str]) -> Iterator[str]:
    """A Markdown table as a list of rows."""
    indent = " " * (len(lines[0]) - len(lines[0].lstrip()))
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))] for line in lines]
    yield from (f"{indent}.. list-table::", f"{indent}   :header-rows: 1", "")
    for row in (row for row in rows if not all(re.fullmatch(":?-+:?", cell) for cell in row)):
        for i, cell in enumerate(row):
            yield f"{indent}   {'* ' if i == 0 else '  '}- {_marked(cell)}"
    yield ""

"""The tables of docs/architecture.md name every file of the rooms that they are about, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT


def rooms() -> dict[str, list[str]]:
    """The folder of each table, and the files that its first column names."""
    names: dict[str, list[str]] = {}
    section, folder = None, None
    for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = re.match(r"## (\w+/)", line)
            section = heading and heading.group(1)
        elif section and re.match(r"\| (file|room|place) \|", line):
            folder = section
        elif section and (inner := re.match(r"\| (?:file of )?`(\w+/)`\s*\| what it holds", line)):
            folder = section + inner.group(1)
        elif folder and line.startswith("| `"):
            names.setdefault(folder, []).extend(re.findall(r"`([^`]+)`", line.split("|")[1]))
        elif not line.startswith("|"):
            folder = None
    return names


ROOMS = rooms()


def test_the_rooms_with_a_table():
    assert len(ROOMS) >= 13


@pytest.mark.parametrize("room", ROOMS)
def test_a_table_names_the_files_of_its_room(room):
    folder = next(base / room for base in (ROOT, ROOT / "netlens") if (base / room).is_dir())
    files = {path.name + "/" * path.is_dir() for path in Path(folder).iterdir()} - {"__init__.py", "__pycache__"}
    assert sorted(ROOMS[room]) == sorted(files)

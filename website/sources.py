"""The folder that Sphinx reads: the repository's pages, in the folders where they lie, and the pages made from code.

Links between pages are those of the repository, so that a page reads the same there and on the site.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from website.glance import command_line, glance
from website.rooms import rooms

ROOT = Path(__file__).parents[1]
PATTERNS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE",
    "docs/**/*",
    "nbs/**/*.ipynb",
    "nbs/**/*.py",
    "images/**/*",
)


def gather(folder: Path) -> None:
    """Make a folder what Sphinx reads. A file that stays the same is not written, so that Sphinx reads it only once."""
    contents = {folder / name: text for name, text in pages()}
    for path, text in contents.items():
        if not path.exists() or path.read_bytes() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
    for path in folder.rglob("*"):
        if path.is_file() and path not in contents:
            path.unlink()
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            shutil.rmtree(path)


def pages() -> Iterator[tuple[str, bytes]]:
    """Every file that Sphinx reads, by its place below the root of the site."""
    for pattern in PATTERNS:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file():
                yield path.relative_to(ROOT).as_posix(), path.read_bytes()
    yield "index.md", (Path(__file__).parent / "index.md").read_bytes()
    generated = {"api/glance.md": glance(), "api/command_line.rst": command_line(), **rooms()}
    yield from ((name, text.encode()) for name, text in generated.items())

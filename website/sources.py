"""The folder that Sphinx reads: the repository's pages, in the folders where they lie, and the pages made from code.

Links between pages are those of the repository, so that a page reads the same there and on the site.
"""

from __future__ import annotations

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
    "nbs/README.md",
    "nbs/**/*.ipynb",
    "nbs/**/*.py",
    "images/**/*",
)


def gather(folder: Path) -> None:
    """Fill a folder with what Sphinx reads."""
    for name, content in pages():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def pages() -> Iterator[tuple[str, bytes]]:
    """Every file that Sphinx reads, by its place below the root of the site."""
    for pattern in PATTERNS:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file():
                yield path.relative_to(ROOT).as_posix(), path.read_bytes()
    yield "index.md", (Path(__file__).parent / "index.md").read_bytes()
    generated = {"api/glance.md": glance(), "api/command_line.rst": command_line(), **rooms()}
    yield from ((name, text.encode()) for name, text in generated.items())

"""The frame: Jinja with the shared templates, and the mark by which a page of ours is known."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from netlens.version import __version__

_SHARED = Path(__file__).with_name("frame")
_HEAD = 2000  # characters in which a page says who made it


def environment(templates: Path, generator: str) -> Environment:
    """The templates of a folder, which may extend `base.html` and import from `parts.html`.

    All texts are escaped: names of files, classes and tests may hold anything.

    Args:
        templates: The folder.
        generator: What makes the pages, such as "netlens report"; a part of each page says so.
    """
    jinja = Environment(
        loader=FileSystemLoader([templates, _SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    jinja.globals |= {"generator": generator, "version": __version__}
    return jinja


def mark(generator: str) -> str:
    """What each page of a generator holds near its beginning.

    Example:
        >>> mark("netlens report")
        '<meta name="generator" content="netlens report">'
    """
    return f'<meta name="generator" content="{generator}">'


def is_page(path: Path, generator: str) -> bool:
    """Whether a file is a page of this generator."""
    try:
        with path.open(encoding="utf-8") as file:
            return mark(generator) in file.read(_HEAD)
    except (OSError, ValueError):  # no file, or no text
        return False

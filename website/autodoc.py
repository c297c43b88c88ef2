"""What Sphinx reads of a docstring: its sections, and the options of a class, which its fields describe."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring

from netlens.options import options_of, table
from website.docstrings import as_rest

SECTIONS = Config(
    napoleon_use_rtype=False, napoleon_use_ivar=True, napoleon_custom_sections=[("Options", "params_style")]
)


def read(app: Sphinx, what: str, name: str, value: Any, settings: Any, lines: list[str]) -> None:
    """Write a docstring in reStructuredText, and below it the options that have a help."""
    lines[:] = as_rest(lines)
    if what == "class" and is_dataclass(value):
        lines += options(value, "\n".join(lines))
    # Napoleon takes the words before a colon for the type of an attribute; here they are its shape
    kind = "" if what in ("attribute", "property", "data") else what
    lines[:] = GoogleDocstring(lines, SECTIONS, what=kind, name=name).lines()


def options(cls: Any, docstring: str) -> list[str]:
    """The section of the options of a class, but for those that its docstring describes itself."""
    names = {one.name for one in options_of(cls) if one.help}
    rows = [row for row in table(cls) if row.name in names and f"\n    {row.name}:" not in docstring]
    lines = ["", "Options:"] if rows else []
    for row in rows:
        facts = ["required" if row.default in ("", "required") else f"default ``{row.default}``", row.bounds]
        sentence = "; ".join(fact for fact in facts if fact)
        lines.append(f"    {row.name} ({row.type}): {as_rest([row.help])[0]} {sentence[0].upper()}{sentence[1:]}.")
    return lines


def is_skipped(app: Sphinx, what: str, name: str, value: Any, skip: bool, settings: Any) -> bool | None:
    """A field of a named tuple has a docstring of Python's own, which says nothing."""
    return True if (getattr(value, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app: Sphinx) -> dict[str, bool]:
    """The entry point of a Sphinx extension."""
    app.connect("autodoc-process-docstring", read)
    app.connect("autodoc-skip-member", is_skipped)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

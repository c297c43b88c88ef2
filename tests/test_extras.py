"""Extras: an error that a package is missing names an extra that setup.py has."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from importlib.metadata import metadata
from pathlib import Path

import pytest

from netlens.errors import WeightsError
from netlens.extras import extra

ROOT = Path(__file__).parents[1]
EXTRA = re.compile(r"netlens\[([a-z,]+)\]")


def test_it_names_the_extra_and_what_else_to_do() -> None:
    line = r"drawing needs a pen: pip install 'netlens\[atlas\]', or sing\."
    with pytest.raises(WeightsError, match=line) as caught, extra("atlas", "drawing needs a pen", "sing", WeightsError):
        import_module("no_such_pen")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_every_extra_that_code_and_docs_name_exists() -> None:
    extras = set(metadata("netlens").get_all("Provides-Extra") or [])
    named: set[str] = set()
    for folder in ("netlens", "adapters"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            named |= {name for names in EXTRA.findall(text) for name in names.split(",")}
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "extra":
                    named.add(ast.literal_eval(node.args[0]))
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        named |= {name for names in EXTRA.findall(path.read_text(encoding="utf-8")) for name in names.split(",")}
    assert {"atlas", "playground", "ray", "survey", "superpixels"} <= named
    assert named <= extras


def test_packages_that_may_be_missing_are_imported_by_the_one_way() -> None:
    """A handler of an import that fails stands in netlens/extras.py only; Python's own modules aside."""
    files = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "netlens").rglob("*.py")
        if re.search(r"except \(?(ImportError|ModuleNotFoundError)", path.read_text(encoding="utf-8"))
    }
    assert files == {"netlens/extras.py", "netlens/visualization/style/_jobs.py"}  # tomllib has come with Python 3.11

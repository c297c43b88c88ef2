"""docs/public.md lists every public name, each of which imports, and every command of the command line.

`python -m tests.docs.test_public` writes the lists anew, where a change is meant.
"""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import click
import pytest

from benchmarks.tables import write_between
from netlens import __version__
from netlens.cli import main
from netlens.errors import NetLensError, NetLensWarning

PAGE = Path(__file__).parents[2] / "docs" / "public.md"
MODULES = (
    "netlens",
    "netlens.flat",
    "netlens.attribution",
    "netlens.objectives",
    "netlens.evaluation",
    "netlens.evaluation.metrics",
    "netlens.visualization",
    "netlens.visualization.style",
    "netlens.survey",
    "netlens.report",
    "netlens.studies",
    "netlens.results",
    "netlens.rules",
    "netlens.testing",
)


def functions() -> dict[str, Any]:
    """The public functions by their full names."""
    named = {f"{module}.{name}": getattr(importlib.import_module(module), name) for module in MODULES
             for name in importlib.import_module(module).__all__}  # fmt: skip
    return {name: one for name, one in named.items() if inspect.isfunction(one)}


@pytest.mark.parametrize("name", functions())
def test_a_public_function_says_its_arguments_and_shows_an_example(name: str) -> None:
    function = functions()[name]
    text = inspect.getdoc(function) or ""
    assert not inspect.signature(function).parameters or "Args:" in text
    assert ">>> " in text


def between(mark: str) -> str:
    match = re.search(f"<!-- {mark}: begin -->\n(.*?)<!-- {mark}: end -->", PAGE.read_text(), flags=re.DOTALL)
    assert match is not None, f"docs/public.md has no marks for {mark}; run `python -m tests.docs.test_public`"
    return match[1]


def documented(mark: str) -> list[str]:
    return re.findall(r"`(.+?)`", between(mark))


def errors() -> list[str]:
    module: Any = importlib.import_module("netlens.errors")
    kinds = [value for value in vars(module).values() if isinstance(value, type)]
    return sorted(kind.__name__ for kind in kinds if issubclass(kind, (NetLensError, NetLensWarning)))


def options(command: click.Command) -> list[str]:
    """The options and arguments of a command, as a person writes them."""
    parameters = command.get_params(click.Context(command))  # some are made only when they are asked for
    return [name for parameter in parameters for name in parameter.opts if parameter.name != "help"]


@pytest.mark.parametrize("module", MODULES)
def test_every_documented_name_imports_and_every_public_name_is_documented(module: str) -> None:
    names = documented(module)
    room = importlib.import_module(module)
    assert names, f"docs/public.md documents nothing of {module}"
    missing = [name for name in names if not hasattr(room, name)]
    assert not missing
    assert sorted(names) == sorted(room.__all__), "run `python -m tests.docs.test_public`, if the change is meant"


def test_every_error_is_documented() -> None:
    assert documented("netlens.errors") == errors()


def test_every_command_and_its_options_are_documented() -> None:
    # in a process of its own: commands make some of their options when they are first asked, which other tests do too
    code = "from tests.docs.test_public import table_of_commands; print(table_of_commands())"
    table = subprocess.run(
        [sys.executable, "-c", code], cwd=PAGE.parents[1], capture_output=True, text=True, check=True
    )
    assert between("commands") == table.stdout


def test_every_record_of_the_version_says_the_same() -> None:
    root = PAGE.parents[1]
    assert f"\nversion: {__version__}\n" in (root / "CITATION.cff").read_text()
    newest, version = re.findall(r"^## ([\w.]+)", (root / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[:2]
    assert (newest, version) == ("Unreleased", __version__)


def table_of_commands() -> str:
    rows = ["| command | options and arguments |", "|---|---|"]
    for name, command in sorted(main.commands.items()):
        rows.append(f"| `{name}` | {', '.join(f'`{option}`' for option in options(command)) or 'none'} |")
    return "\n".join(rows)


def names_of(names: list[str]) -> str:
    return textwrap.fill(", ".join(f"`{name}`" for name in names), 120, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    for room in MODULES:
        write_between(PAGE, room, names_of(list(importlib.import_module(room).__all__)))
    write_between(PAGE, "netlens.errors", names_of(errors()))
    write_between(PAGE, "commands", table_of_commands())

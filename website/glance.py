"""Tables that are made from the code: methods and objectives with their options, and the commands."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import is_dataclass
from typing import Any

import click

from netlens import objectives
from netlens.attribution import METHODS
from netlens.cli import main
from netlens.options import table

HEAD = """# Methods and objectives at a glance

Made from the code: every method and objective, each with its options and their defaults. What an option means, and its
bounds, stand in [the tables of options](../docs/methods.md#options), and in the API, to which each name leads.
[Which method answers which question](../docs/methods.md#which-one) is the place to start, and
[what to explain](../docs/targets.md) shows objectives at work.
"""


def glance() -> str:
    """The page in Markdown."""
    methods = [
        (f"[`{name}`](#netlens.attribution.{cls.__name__})", cls, defaults(cls)) for name, cls in METHODS.items()
    ]
    public = {name: getattr(objectives, name) for name in objectives.__all__}
    concrete = {
        name: value
        for name, value in public.items()
        if not inspect.isabstract(value) and value is not objectives.Record
    }
    rows = [(f"[`{name}`](#netlens.objectives.{name})", value, defaults(value)) for name, value in concrete.items()]
    statistics = [row for row in rows if inspect.isclass(row[1])]
    functions = [row for row in rows if not inspect.isclass(row[1])]
    return "\n".join(
        [
            HEAD,
            f"## {len(methods)} methods",
            "",
            "The name is that on a lens (`lens.grad_cam()`) and on the command line (`--method grad_cam`).",
            "",
            *_rows("method", methods),
            "## Objectives",
            "",
            "An option without a default has to be given.",
            "",
            *_rows("objective", functions),
            "## Statistics of a style",
            "",
            "`style(..., statistic=...)` and `StyleTransfer` take one of these.",
            "",
            *_rows("statistic", statistics),
        ]
    )


def _rows(what: str, rows: Iterable[tuple[str, Any, str]]) -> list[str]:
    lines = [f"| {what} | what it gives | options |", "|---|---|---|"]
    for name, value, options in rows:
        purpose = " ".join(inspect.getdoc(value).partition("\n\n")[0].split())  # type: ignore[union-attr]
        lines.append(f"| {name} | {escaped(purpose)} | {escaped(options)} |")
    return [*lines, ""]


def escaped(text: str) -> str:
    """A text in a cell of a table, where a bar would end the cell, and a star or bracket is itself."""
    code = False
    letters = []
    for letter in text:
        code ^= letter == "`"
        letters.append(f"\\{letter}" if letter == "|" or (letter in "*_[]<" and not code) else letter)
    return "".join(letters)


def defaults(value: Any) -> str:
    """The options of a class or function with their defaults: `n_steps=50`, `baselines=0.0`."""
    if is_dataclass(value):
        words = [row.name if row.default in ("", "required") else f"{row.name}={row.default}" for row in table(value)]  # type: ignore[arg-type]
    else:
        parameters = inspect.signature(value).parameters.values()
        words = [one.name if one.default is one.empty else f"{one.name}={one.default}" for one in parameters]
    return ", ".join(f"`{word}`" for word in words) or "none"


def command_line() -> str:
    """The page of the command line: what each command says when it is asked with `--help`."""
    title = "netlens on the command line"
    lines = [title, "=" * len(title), "", "What each command says when it is asked with ``--help``.", ""]
    for name, command in sorted(main.commands.items()):
        with click.Context(command, info_name=f"netlens {name}", max_content_width=100) as context:
            text = command.get_help(context)
        lines += [f"netlens {name}", "-" * len(f"netlens {name}"), "", ".. code-block:: text", ""]
        lines += [f"   {line}".rstrip() for line in text.splitlines()] + [""]
    return "\n".join(lines)

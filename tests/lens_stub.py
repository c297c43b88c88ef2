"""Writes `netlens/methods.pyi`, by which type checkers and editors see each method on `NetLens`.

`python -m tests.lens_stub` writes it anew; `tests/test_methods.py` fails while it differs from the registry.
"""

from __future__ import annotations

import inspect
import textwrap
import types
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from netlens.attribution import METHODS, Method

FILE = Path(__file__).parents[1] / "netlens" / "methods.pyi"
HEAD = '''"""The methods of `NetLens`, one for each registered method of attribution.

Written by `python -m tests.lens_stub`; do not edit.
"""

'''
WIDTH = 120


def stub() -> str:
    """The text of the file."""
    imports = {("netlens.objectives", "Objective"), ("netlens.results", "Attribution")}
    ours = sorted(name for name, method in METHODS.items() if method.__module__.startswith("netlens.attribution"))
    body = "\n".join(line for name in ours for line in _method(name, METHODS[name], imports))
    lines = [_import(module, {name for m, name in imports if m == module}) for module in _modules(imports)]
    return f"{HEAD}{_blocks(lines)}\n\nclass Methods:\n{body}\n"


def _method(name: str, method: type[Method], imports: set[tuple[str, str]]) -> Iterator[str]:
    hints = get_type_hints(method)
    purpose = inspect.cleandoc(method.__doc__ or "").split("\n\n")[0]
    yield f"    def {name}("
    yield "        self,"
    yield "        *,"
    for option in fields(method):
        yield _argument(option.name, _spelled(hints[option.name], imports), _default(option))
    yield "        objective: Objective | None = None,"
    yield '        wrt: str = "input",'
    yield "    ) -> Attribution:"
    yield textwrap.indent("\n".join(textwrap.wrap(f'"""{purpose}"""', WIDTH - 8)), " " * 8)


def _argument(name: str, hint: str, default: str) -> str:
    """One argument on a line; a choice among so many words that they do not fit has them on a line of their own."""
    line = f"        {name}: {hint}{default},"
    if len(line) <= WIDTH:
        return line
    words = hint.removeprefix("Literal[").removesuffix("]")
    return f"        {name}: Literal[\n            {words}\n        ]{default},"


def _spelled(hint: Any, imports: set[tuple[str, str]]) -> str:
    """A type as an annotation says it; what it needs is added to the imports."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is type(None):
        return "None"
    if origin in (Union, types.UnionType):
        return " | ".join(_spelled(argument, imports) for argument in arguments)
    if origin is Literal:
        imports.add(("typing", "Literal"))
        return f"Literal[{', '.join(_quoted(argument) for argument in arguments)}]"
    if hint is Any:
        imports.add(("typing", "Any"))
        return "Any"
    cls = hint if origin is None else origin
    if cls.__module__ != "builtins":
        imports.add((_public(cls), cls.__name__))
    inner = f"[{', '.join(_spelled(argument, imports) for argument in arguments)}]" if arguments else ""
    return cls.__name__ + inner


def _public(cls: type) -> str:
    return "torch" if cls.__module__.startswith("torch") else cls.__module__


def _default(option: Field[Any]) -> str:
    if option.default is MISSING:
        return "" if option.default_factory is MISSING else " = ..."
    plain = option.default is None or isinstance(option.default, (bool, int, float, str))
    return f" = {_quoted(option.default)}" if plain else " = ..."


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _modules(imports: set[tuple[str, str]]) -> list[str]:
    return sorted({module for module, _ in imports})


def _import(module: str, names: set[str]) -> str:
    return f"from {module} import {', '.join(sorted(names))}"


def _blocks(lines: list[str]) -> str:
    """Imports of the standard library, of others and of netlens, with a blank line between."""
    ours = [line for line in lines if line.startswith("from netlens")]
    torch = [line for line in lines if line.startswith("from torch")]
    standard = [line for line in lines if line not in ours and line not in torch]
    return "\n\n".join("\n".join(block) for block in (standard, torch, ours) if block)


if __name__ == "__main__":
    FILE.write_text(stub(), encoding="utf-8")

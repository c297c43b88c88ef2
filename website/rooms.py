"""A page of the API for each room that docs/public.md lists: the docstrings of its public names."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from netlens.attribution import Method
from website.docstrings import PUBLIC, as_rest, names_of_rooms


def rooms() -> dict[str, str]:
    """The pages in reStructuredText, by file."""
    names_by_room = names_of_rooms(PUBLIC.read_text(encoding="utf-8"))
    homes = homes_of(names_by_room)
    pages = {f"api/{room}.rst": page(room, names, homes, names_by_room) for room, names in names_by_room.items()}
    return {"api/index.rst": index(names_by_room), **pages}


def index(names: Iterable[str]) -> str:
    """The page that lists the rooms."""
    lines = ["The API, by room", "================", "", "What netlens offers, as :doc:`../docs/public` lists it.", ""]
    lines += [".. list-table::", "   :widths: 30 70", "   :class: names", ""]
    for room in names:
        lines += [
            f"   * - :py:mod:`{room}`",
            f"     - {' '.join(_docstring(import_module(room))).partition('. ')[0].strip('.')}.",
        ]
    return "\n".join([*lines, "", ".. toctree::", "   :hidden:", "", *(f"   {room}" for room in names), ""])


def homes_of(names_by_room: Mapping[str, Iterable[str]]) -> dict[int, str]:
    """Of each object that rooms offer, the name under which it is described: that of the room that holds its code."""
    names: dict[int, list[tuple[str, str]]] = {}
    for room, offered in names_by_room.items():
        for name in offered:
            value = getattr(import_module(room), name)
            names.setdefault(id(value), []).append((room, name))
    homes = {}
    for key, places in names.items():
        room, name = max(places, key=lambda place: (_written_in(*place), len(place[0])))
        homes[key] = f"{room}.{name}"
    for room in names_by_room:  # a room that another room offers has its own page
        homes[id(import_module(room))] = room
    return homes


def _written_in(room: str, name: str) -> bool:
    origin = getattr(getattr(import_module(room), name), "__module__", "")
    return f"{origin}.".startswith(f"{room}.")


def page(room: str, names: Iterable[str], homes: Mapping[int, str], names_by_room: Iterable[str]) -> str:
    """The page of a room: its docstring, a table of its names, and each name that no other page describes."""
    module = import_module(room)
    values = {name: getattr(module, name) for name in names}
    lines = [room, "=" * len(room), "", f".. py:module:: {room}", "", *_docstring(module), ""]
    kinds: dict[str, list[str]] = {}
    for name in values:
        kinds.setdefault(_kind(values[name]), []).append(name)
    for kind in ("Classes", "Functions", "Modules", "Values"):
        if kind in kinds:
            lines += [f".. rubric:: {kind}", "", *_table(room, {name: values[name] for name in kinds[kind]}, homes)]
    here = [name for name, value in values.items() if homes[id(value)] == f"{room}.{name}"]
    entries = [
        name
        for name in sorted(here, key=lambda name: _kind(values[name]) == "Values")
        if f"{room}.{name}" not in names_by_room
    ]
    if entries:
        lines += ["Each of them", "------------", ""]
    for name in entries:
        lines += [*_described(room, name, values[name]), ""]
    return "\n".join(lines)


def _kind(value: Any) -> str:
    if inspect.ismodule(value):
        return "Modules"
    if inspect.isclass(value):
        return "Classes"
    return "Functions" if inspect.isroutine(value) else "Values"


def _table(room: str, values: Mapping[str, Any], homes: Mapping[int, str]) -> list[str]:
    lines = [".. list-table::", "   :widths: 30 70", "   :class: names", ""]
    for name, value in values.items():
        home = homes[id(value)]
        role = "py:mod" if inspect.ismodule(value) else "py:obj"
        lines += [f"   * - :{role}:`{name} <{home}>`", f"     - {first_line(room, name, value)}"]
    return [*lines, ""]


def first_line(room: str, name: str, value: Any) -> str:
    """The first sentence of a docstring, which is what a name is for."""
    text = inspect.getdoc(value) if _kind(value) != "Values" else _comment(name, value)
    return as_rest([" ".join((text or "").partition("\n\n")[0].split())])[0]


def _docstring(module: Any) -> list[str]:
    return as_rest(inspect.cleandoc(module.__doc__ or "").splitlines())


def _described(room: str, name: str, value: Any) -> list[str]:
    kind = _kind(value)
    if kind == "Modules":
        return [f".. automodule:: {value.__name__}", "   :members:"]
    if kind == "Functions":
        return [f".. autofunction:: {room}.{name}"]
    if kind == "Classes":
        # the members of a method are its formula, which its docstring says; its options follow the docstring
        members = not (issubclass(value, Method) and value is not Method)
        return [f".. autoclass:: {room}.{name}", *(["   :members:"] if members else [])]
    text = as_rest(_comment(name, value).splitlines())
    return [f".. py:data:: {room}.{name}", "", *(f"   {line}".rstrip() for line in text)]


def _comment(name: str, value: Any) -> str:
    """The docstring below the assignment of a value, in the file of netlens that assigns it."""
    from sphinx.pycode import ModuleAnalyzer

    for module in [module for key, module in sorted(sys.modules.items()) if key.startswith("netlens.")]:
        if vars(module).get(name) is value and getattr(module, "__file__", None):
            analyzer = ModuleAnalyzer.for_module(module.__name__)
            analyzer.analyze()
            lines = analyzer.attr_docs.get(("", name))
            if lines:
                return "\n".join(lines).strip()
    return ""

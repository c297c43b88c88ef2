"""The house rules that can be checked: imports point downwards, files hold one concept, importing netlens is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("netlens/**/*.py"), *ROOT.glob("adapters/*.py")])

# from the ground up; a room may import rooms of lower rows only, and itself
ROWS = [
    ("errors", "silence", "files"),
    ("heatmaps", "images", "classes"),
    ("preprocessing",),
    ("weights",),
    ("flat", "world"),
    ("adapters", "objectives", "rules"),
    ("predictions",),
    ("show",),
    ("results",),
    ("attribution", "visualization"),
    ("evaluation", "style"),
    ("zoo",),
    ("inputs", "methods"),
    ("lens",),
    ("cli",),
]
RANK = {room: row for row, rooms in enumerate(ROWS) for room in rooms}


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "adapters" if parts[0] == "adapters" else parts[1]


def imported(path: Path) -> Iterator[str]:
    """The rooms of netlens that a file imports: at the top, inside functions, or for annotations only."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "netlens":
            parts = (node.module or "").split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("netlens."))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    for other in set(imported(path)) & set(RANK) - {here}:
        assert RANK[other] < RANK[here], f"{here} must not import {other}"


def test_every_room_has_a_row() -> None:
    assert {room(path) for path in SOURCES} - {"__init__"} == set(RANK)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_holds_one_concept(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
    assert path.stem not in {"utils", "misc", "helpers", "common"}


def test_only_images_imports_pyimgy_and_nothing_its_torch_patches() -> None:
    users = {path.name for path in SOURCES if "import pyimgy" in path.read_text() or "from pyimgy" in path.read_text()}
    assert users == {"images.py"}
    assert not any(
        "pyimgy.optional" in line and "import" in line for p in SOURCES for line in p.read_text().split("\n")
    )


def test_importing_netlens_is_light() -> None:
    code = "import sys, netlens, netlens.lens, netlens.zoo; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"matplotlib", "matplotlib.pyplot", "pyimgy", "captum", "sklearn", "pandas"} & set(modules)


def test_what_is_kept_of_a_flat_model_goes_when_its_network_changes():
    kept = [path for path in SOURCES if "WeakKeyDictionary[FlatModel" in path.read_text()]
    assert not kept, "use a Memo, which is emptied then"

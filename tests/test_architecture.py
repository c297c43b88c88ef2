"""The house rules that can be checked: imports point downwards and in no circle, and importing netlens is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("netlens/**/*.py"), *ROOT.glob("adapters/*.py")])
SOURCES = [path for path in SOURCES if path.parent != ROOT / "netlens" / "adapters"]  # a link to the folder adapters/
BENCHMARKS = sorted(ROOT.glob("benchmarks/*.py"))

# from the ground up; a room may import rooms of lower rows only, and itself
ROWS = [
    ("errors", "files", "finite", "silence", "version"),
    ("options",),
    ("heatmaps", "images", "classes"),
    ("preprocessing",),
    ("weights",),
    ("flat", "world"),
    ("adapters", "fast", "objectives", "rules"),
    ("predictions",),
    ("show",),
    ("results",),
    ("attribution", "visualization"),
    ("evaluation",),
    ("zoo",),
    ("inputs", "methods"),
    ("lens",),
    ("cli",),
]
RANK = {room: row for row, rooms in enumerate(ROWS) for room in rooms}


def module_of(path: Path) -> str:
    """The name by which a file is imported; the folder adapters/ is installed as netlens.adapters."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("netlens", *parts) if parts[0] == "adapters" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(path: Path) -> str:
    parts = module_of(path).split(".")
    return parts[1] if len(parts) > 1 else "__init__"


MODULES = {module_of(path): path for path in [*SOURCES, *BENCHMARKS]}


def imported(path: Path) -> set[str]:
    """The modules of this project that a file imports: at the top, inside functions, or for annotations alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in MODULES else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in MODULES} - {module_of(path)}


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others."""
    reached = {name: others & imports.keys() for name, others in imports.items()}
    for middle in imports:
        for others in reached.values():
            if middle in others:
                others |= reached[middle]
    groups = {frozenset(other for other in reached[name] if name in reached[other]) for name in imports}
    return sorted(sorted(group) for group in groups if group)


def test_imports_point_downwards() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, path in MODULES.items()
        if room(path) in RANK and name.startswith("netlens.")
        for other in imported(path)
        if other.startswith("netlens.") and (there := other.split(".")[1]) != (here := room(path))
        if RANK[there] >= RANK[here]
    ]
    assert not wrong


def test_no_module_imports_itself_through_others() -> None:
    assert not circles({name: imported(path) for name, path in MODULES.items()})


# the package loads what a person uses when it is used, and the registry loads our adapters as it loads those of others
LOADERS = {"netlens", "netlens.flat.adapter"}


def test_imports_are_absolute_and_none_is_hidden_in_a_string() -> None:
    for path in (path for name, path in MODULES.items() if name not in LOADERS):
        for node in ast.walk(ast.parse(path.read_text())):
            relative = isinstance(node, ast.ImportFrom) and node.level > 0
            assert not relative or room(path) == "adapters", f"{path} has a relative import"
            called = node.func if isinstance(node, ast.Call) else None
            assert getattr(called, "attr", getattr(called, "id", "")) not in ("import_module", "__import__"), path


def test_the_library_imports_no_benchmark() -> None:
    assert not [
        name
        for name, path in MODULES.items()
        if name.startswith("netlens")
        for other in imported(path)
        if other.startswith("benchmarks")
    ]


def test_every_room_has_a_row() -> None:
    assert {room(path) for path in SOURCES} - {"__init__"} == set(RANK)


def test_a_file_holds_one_concept() -> None:
    for path in SOURCES:
        assert len(path.read_text().splitlines()) <= 400, path
        assert path.stem not in {"utils", "misc", "helpers", "common"}


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == [["b", "c"]]


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

"""The house rules that can be checked: imports point downwards, in no circle and through doors, and are light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("netlens/**/*.py"), *ROOT.glob("adapters/*.py")])
SOURCES = [path for path in SOURCES if path.parent != ROOT / "netlens" / "adapters"]  # a link to the folder adapters/
BENCHMARKS = sorted([*ROOT.glob("benchmarks/**/*.py"), *ROOT.glob("website/**/*.py")])
TESTS = sorted(ROOT.glob("tests/**/*.py"))

# from the ground up; a room may import rooms of lower rows only, and itself
ROWS = [
    ("errors", "files", "finite", "interruption", "memo", "precision", "silence", "version"),
    ("extras", "options", "pages"),
    ("heatmaps", "images", "classes", "processors"),
    ("checkpoints", "preprocessing"),
    ("masks", "weights"),
    ("flat", "world"),
    ("adapters", "fast", "objectives", "rules"),
    ("predictions",),
    ("show",),
    ("results",),
    ("attribution", "survey", "visualization"),
    ("evaluation",),
    ("studies",),
    ("zoo",),
    ("inputs", "methods"),
    ("lens",),
    ("playground", "report", "testing"),
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
READERS = {**MODULES, **{module_of(path): path for path in TESTS}}


def imported(path: Path) -> set[str]:
    """The modules of this project that a file imports: at the top, inside functions, or for annotations alone."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            modules |= {name if name in MODULES else node.module for name in names}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return {name for name in modules if name in MODULES} - {module_of(path)}


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


# the package loads what a person uses when it is used, the registry loads our adapters as it loads those of others, and
# a table of networks loads a library only if it measures the networks of this library, and the site has a page for each
# room that docs/public.md lists
LOADERS = {"netlens", "netlens.flat.adapter", "benchmarks.matrix._collections", "website.rooms"}


def test_imports_are_absolute_and_none_is_hidden_in_a_string() -> None:
    for path in (path for name, path in MODULES.items() if name not in LOADERS):
        for node in ast.walk(ast.parse(path.read_text())):
            relative = isinstance(node, ast.ImportFrom) and node.level > 0
            assert not relative or room(path) == "adapters", f"{path} has a relative import"
            called = node.func if isinstance(node, ast.Call) else None
            assert getattr(called, "attr", getattr(called, "id", "")) not in ("import_module", "__import__"), path


# what a type of layers does stands in the table of operations; these files hold the code for the types that they list
IMPLEMENTS = {
    "netlens.flat.layout": "modules whose parts are called with maps as rows",
    "netlens.flat.tracing._canonical": "the modules that a function may be called by",
    "netlens.flat.tracing._formulas": "the modules that a formula may be called by",
    "netlens.inputs": "what a network that is not flat yet may read first",
    "netlens.rules._recurrent": "the pieces of recurrent layers",
    "netlens.rules._relevance_norms": "the rules of norms",
}


def test_what_layers_do_stands_in_one_table() -> None:
    """A list of many module types is a property of theirs, and properties belong to `netlens.flat.operations`."""
    listing = set()
    for name, path in MODULES.items():
        if not name.startswith("netlens.") or name.startswith("netlens.flat.operations"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Tuple | ast.Set | ast.List):
                types = [type_ for type_ in map(ast.unparse, node.elts) if re.match(r"nn\.[\w.]+$", type_)]
                if len(types) > 3:
                    listing.add(name)
    assert listing == set(IMPLEMENTS)


def test_the_library_imports_no_benchmark() -> None:
    assert not [
        name
        for name, path in MODULES.items()
        if name.startswith("netlens")
        for other in imported(path)
        if other.startswith("benchmarks")
    ]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def holder_of(module: str) -> str | None:
    """The package that a private module belongs to; None for a module that everybody may import."""
    parts = module.split(".")
    private = next((i for i, part in enumerate(parts) if is_private(part)), None)
    return None if private is None else ".".join(parts[:private])


# the golden record of operations says what single parts of all rooms know
OPEN_TO_ALL = {"tests.golden.operations"}


def may_open(reader: str, package: str) -> bool:
    """Whether a module may import the private modules of a package.

    The modules of the package may, and so may the tests of its room, where a private part has laws of its own: those
    in the folder `tests/<room>` or in the file `tests/test_<room>.py`.
    """
    if f"{reader}.".startswith(f"{package}.") or reader in OPEN_TO_ALL:
        return True
    parts = reader.split(".")
    return parts[0] == "tests" and f"{package}.".startswith(f"netlens.{parts[1].removeprefix('test_')}.")


def private_names(path: Path) -> set[str]:
    """The private names of other modules that a file imports, or reads from a module that it imports."""
    tree = ast.parse(path.read_text())
    names, modules = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and (node.level or node.module in MODULES):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in MODULES:
                    modules[alias.asname or alias.name] = full
                elif is_private(alias.name):
                    names.add(full)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            names |= {f"{modules[node.value.id]}.{node.attr}"} if is_private(node.attr) else set()
    return names


def test_what_is_private_is_imported_by_its_package_alone() -> None:
    wrong = [
        f"{reader} imports {module}"
        for reader, path in READERS.items()
        for module in imported(path)
        if (package := holder_of(module)) is not None and not may_open(reader, package)
    ]
    assert not wrong


def test_no_private_name_is_imported() -> None:
    readers = {reader: path for reader, path in READERS.items() if reader not in OPEN_TO_ALL}
    assert not [f"{reader} reads {name}" for reader, path in readers.items() for name in private_names(path)]


# these are commands, or part of what docs/public.md lists
ENTRANCES = {
    "benchmarks.matrix.smallest",
    "netlens.cli.__main__",
    "netlens.testing.plugin",
    "netlens.world.training",
    "netlens.world.distillation",
    "netlens.world.memorization",
    "netlens.flat.edits",
}


def test_what_no_other_room_reads_is_private() -> None:
    """A file without an underscore says that another room reads it, or a test of all rooms."""
    read = {
        module
        for reader, path in READERS.items()
        for module in imported(path)
        if not may_open(reader, module.rpartition(".")[0])
    }
    files = {module for module, path in MODULES.items() if module.count(".") > 1 and path.name != "__init__.py"}
    unread = {module for module in files - read - ENTRANCES if holder_of(module) is None}
    assert not {module for module in unread if not module.startswith("netlens.adapters.")}


def test_every_room_has_a_row() -> None:
    assert {room(path) for path in SOURCES} - {"__init__"} == set(RANK)


def test_a_file_holds_one_concept() -> None:
    for path in SOURCES:
        assert len(path.read_text().splitlines()) <= 400, path
        assert path.stem not in {"utils", "misc", "helpers", "common"}


# words of grammar: they say that something happened to a thing, and not what thing it is; a boolean may be `done`
GRAMMAR = re.compile("_*(found|known|made|own|about|some|given|taken|told|asked|said|kept|seen|held)_*")
# a key of a file, docs/timm.jsonl
OFFERED = {"benchmarks.matrix._row: found"}


def names_in(path: Path) -> set[str]:
    """The names that a file gives: to variables, attributes, arguments, functions, classes and imports."""
    names: set[str | None] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.ExceptHandler(name=name) | ast.MatchAs(name=name) | ast.MatchStar(name=name):
                names.add(name)
            case ast.alias(asname=name):
                names.add(name)
    return {name for name in names if name is not None}


def test_names_are_those_of_things() -> None:
    """A name says what it holds: `layer`, `paths`, `rows`, and not `found`."""
    wrong = {
        f"{module}: {name}" for module, path in READERS.items() for name in names_in(path) if GRAMMAR.fullmatch(name)
    }
    assert not wrong - OFFERED, "name each after the thing that it holds, such as `layer`, `paths` or `rows`"
    assert not OFFERED - wrong, "these names are gone, so their exceptions may go, too"


def test_names_that_say_nothing_are_seen(tmp_path: Path) -> None:
    lines = [
        *("found = 1", "for kept in []: pass", "with open('x') as made: pass", "self._seen = 1", "import os as own"),
        *("def _told(about, *, asked, **given): pass", "[0 for some in []]", "def right(x): (said := x)"),
    ]
    (tmp_path / "file.py").write_text("\n".join(lines))
    names = {"found", "kept", "made", "_seen", "own", "_told", "about", "asked", "given", "some", "said"}
    assert names_in(tmp_path / "file.py") == {*names, "right", "x"}


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
    others = {"matplotlib", "matplotlib.pyplot", "pyimgy", "captum", "sklearn", "pandas", "gradio"}
    rooms = {f"netlens.{room}" for room in ("evaluation", "show", "studies", "survey", "report", "visualization")}
    assert not (others | rooms) & set(modules)


def test_what_is_kept_of_a_flat_model_goes_when_its_network_changes():
    paths = [path for path in SOURCES if "WeakKeyDictionary[FlatModel" in path.read_text()]
    assert not paths, "use a Memo, which is emptied then"

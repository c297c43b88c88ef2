"""What the site of the docs is made of. `make docs` makes it, and finds warnings of Sphinx, dead links and requests."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from netlens import objectives
from netlens.attribution import METHODS
from netlens.cli import main
from netlens.options import options_of
from tests.docs.pages import ROOT
from website.built import faults, is_elsewhere
from website.docstrings import PUBLIC, as_rest, names_of_rooms
from website.glance import command_line, glance

NO_SPHINX = "Sphinx is not installed, see the extra docs of netlens; it needs Python 3.11"
LISTED = names_of_rooms(PUBLIC.read_text(encoding="utf-8"))
GOOD = """<html><head><link rel="stylesheet" href="site.css"><script src="search.js"></script></head>
<body><h1 id="top">One</h1><a href="two.html#end">two</a> <a href="#top">up</a> <a href="https://arxiv.org/abs/1">paper</a>
<img src="data:image/png;base64,AA=="></body></html>"""


def site(folder: Path, page: str = GOOD, style: str = "body { color: black }") -> list[str]:
    """The faults of a small site."""
    (folder / "one.html").write_text(page)
    (folder / "two.html").write_text('<p id="end">end</p>')
    (folder / "site.css").write_text(style)
    (folder / "search.js").write_text("")
    return faults(folder)


def test_every_page_and_notebook_stands_in_the_contents() -> None:
    contents = (ROOT / "website" / "index.md").read_text(encoding="utf-8").splitlines()
    pages = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("nbs/*.ipynb")]
    names = [str(page.relative_to(ROOT).with_suffix("")) for page in pages]
    assert [name for name in names if name not in contents] == []


def test_a_site_without_faults_has_none(tmp_path: Path) -> None:
    assert site(tmp_path) == []


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ('src="search.js"', 'src="https://cdn.example/search.js"', "requests https://cdn.example/search.js"),
        ('href="site.css"', 'href="//cdn.example/a.css"', "requests //cdn.example/a.css"),
        ("<body>", "<body><style>@import 'https://fonts.example/a';</style>", "requests https://fonts.example/a"),
        ("<body>", '<body style="background: url(http://a.example/b)">', "requests http://a.example/b"),
        ("<body>", '<body><img srcset="HTTPS://a.example/b 2x">', "requests HTTPS://a.example/b"),
        ("<body>", '<body><iframe src="https://a.example"></iframe>', "requests https://a.example"),
        ("<body>", '<body><img src="away.png">', "has no file away.png"),
        ("two.html#end", "three.html", "links to three.html, which is not there"),
        ("two.html#end", "two.html#start", "links to two.html#start, whose anchor is not there"),
        ('"#top"', '"#bottom"', "links to #bottom, whose anchor is not there"),
    ],
)
def test_a_fault_is_told(before: str, after: str, fault: str, tmp_path: Path) -> None:
    assert before in GOOD
    assert site(tmp_path, GOOD.replace(before, after)) == [f"one.html: {fault}"]


def test_a_fault_of_a_style_sheet_is_told(tmp_path: Path) -> None:
    style = (
        "/* https://a.example */ @font-face { src: url('https://a.example/font.woff2') } p { background: url(x.png) }"
    )
    assert site(tmp_path, style=style) == [
        "site.css: requests https://a.example/font.woff2",
        "site.css: has no file x.png",
    ]


def test_what_is_elsewhere() -> None:
    assert all(map(is_elsewhere, ("https://a", "http://a", "//a", " HTTPS://a", "wss://a")))
    assert not any(map(is_elsewhere, ("a", "/a", "#a", "data:image/png;base64,//", "mailto:a@b")))


def test_docstrings_read_the_same_as_in_help() -> None:
    text = [
        "The mean of |x| over `steps`, see `FlatModel`.",
        "",
        "| a | says |",
        "|---|---|",
        "| `b` | *c |",
        "",
        ">>> a | b",
    ]
    assert as_rest(text) == [
        "The mean of \\|x\\| over ``steps``, see :py:obj:`FlatModel <netlens.flat.FlatModel>`.",
        "",
        ".. list-table::",
        "   :header-rows: 1",
        "",
        "   * - a",
        "     - says",
        "   * - ``b``",
        "     - \\*c",
        "",
        "",
        ">>> a | b",
    ]


def test_every_public_name_is_described_once() -> None:
    pytest.importorskip("sphinx", reason=NO_SPHINX)
    from website.rooms import rooms

    pages = rooms()
    described = [
        name
        for page in pages.values()
        for name in re.findall(
            r"^\.\. (?:autoclass|autofunction|automodule|py:data|py:module):: (.+)$", page, re.MULTILINE
        )
    ]
    assert len(described) == len(set(described))
    objects = [_object(name) for name in described]
    for room, names in LISTED.items():
        assert room in described
        for name in names:
            value = getattr(import_module(room), name)
            assert sum(value is one for one in objects) == 1, f"{room}.{name}"
            assert re.search(rf"`{name} <netlens[\w.]*>`", pages[f"api/{room}.rst"]), f"{room}.{name}"


def _object(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        module, _, last = name.rpartition(".")
        return getattr(_object(module), last)


def test_the_table_has_every_method_and_objective_with_all_options() -> None:
    rows = {line.split("`")[1]: line for line in glance().splitlines() if line.startswith("| [`")}
    assert METHODS.keys() <= rows.keys()
    assert rows.keys() - METHODS.keys() >= {name for name in objectives.__all__ if name[0].islower()}
    for name, method in METHODS.items():
        assert all(f"`{one.name}" in rows[name] for one in options_of(method)), name
        assert len(re.findall(r"(?<!\\)\|", rows[name])) == 4, name


def test_every_command_has_its_help() -> None:
    assert all(f"\nnetlens {name}\n---" in command_line() for name in main.commands)


def test_every_option_of_a_class_is_in_its_docstring() -> None:
    pytest.importorskip("sphinx", reason=NO_SPHINX)
    from website.autodoc import options

    for method in METHODS.values():
        text = "\n".join(options(method, method.__doc__ or ""))
        assert all(f"    {one.name} (" in text or f"    {one.name}:" in method.__doc__ for one in options_of(method))


def test_a_formula_needs_no_script() -> None:
    nodes = pytest.importorskip("docutils.nodes", reason=NO_SPHINX)
    pytest.importorskip("sphinx", reason=NO_SPHINX)
    from website.mathml import block, inline

    page = SimpleNamespace(body=[])
    for write in (inline, block):
        with pytest.raises(nodes.SkipNode):
            write(page, nodes.math(r"\sum_i x_i^2", r"\sum_i x_i^2"))  # type: ignore[arg-type]
    assert all("<math" in part and "<script" not in part for part in page.body) and len(page.body) == 2


def test_the_pages_and_notebooks_stand_as_they_are(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason=NO_SPHINX)
    from website.sources import gather

    gather(tmp_path)
    for pattern in ("docs/**/*.md", "nbs/**/*.ipynb", "nbs/**/*.py", "README.md"):
        for path in ROOT.glob(pattern):
            assert (tmp_path / path.relative_to(ROOT)).read_bytes() == path.read_bytes()


# the pages as a code host shows them

MARKDOWN = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "nbs/README.md")] + sorted(
    ROOT.glob("docs/**/*.md")
)


def anchors(path: Path) -> set[str]:
    """The anchors that a code host gives to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#{1,6} (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    for link in (link for link in links if not re.match(r"[a-z]+:", link)):
        place, _, anchor = link.partition("#")
        target = path.parent / place if place else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link

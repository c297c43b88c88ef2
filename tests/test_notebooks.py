"""The notebooks run from top to bottom, and what is committed of them is small and free of errors."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path

import nbformat
import pytest

from tests.notebooks import FOLDER, NOTEBOOKS, executed

ROOT = FOLDER.parent

SHORT = ("quickstart", "survey")
"""Those that each run of the tests runs. `make notebooks` runs all of them."""
PARAMETERS = [
    pytest.param(path, id=path.stem, marks=() if path.stem in SHORT else pytest.mark.notebook) for path in NOTEBOOKS
]


def test_all_are_listed_where_people_look() -> None:
    for page, link in ((FOLDER / "README.md", "({}.ipynb)"), (ROOT / "website" / "index.md", "\nnbs/{}\n")):
        text = page.read_text(encoding="utf-8")
        assert [path.stem for path in NOTEBOOKS if link.format(path.stem) not in text] == []


@pytest.mark.parametrize("path", PARAMETERS)
def test_a_notebook_runs(path: Path) -> None:
    executed(path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_outputs_are_committed_and_small(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert path.stat().st_size < 1_000_000
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    kinds = [output.get("data", {}) for output in outputs]
    pictures = [data[kind] for data in kinds for kind in ("image/png", "image/jpeg") if kind in data]
    assert pictures, "a notebook is a story with pictures"
    assert max(len(base64.b64decode(picture)) for picture in pictures) < 500_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_tells_nothing_of_the_machine_that_ran_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    folders = (f"{tempfile.gettempdir()}/", f"{Path.home()}/", str(ROOT), "/home/", "/Users/", "site-packages")
    assert [folder for folder in folders if folder in text] == []

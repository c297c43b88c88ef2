"""Runs notebooks. `python -m tests.notebooks nbs/saliency.ipynb` writes the outputs of one; without a name, of all."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "nbs"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs that it has now. It runs in its own folder, as in Jupyter."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        coalesce_streams=True,  # else what is printed falls apart, by chance
        record_timing=False,
        resources={"metadata": {"path": FOLDER}},
    )
    client.execute()
    return notebook


def write(path: Path) -> None:
    """Run a notebook and keep its outputs, and nothing that differs from machine to machine."""
    notebook = executed(path)
    # the version of Python and the like
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"{path.stem}-{number}", {}
    new = path.with_suffix(".new")
    nbformat.write(notebook, new)
    new.replace(path)


if __name__ == "__main__":
    for path in [Path(name) for name in sys.argv[1:]] or NOTEBOOKS:
        write(path)
        sys.stdout.write(f"{path}: {path.stat().st_size // 1000} KB\n")

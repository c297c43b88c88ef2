"""Output files: their folder exists before any work begins, and they never overwrite an input."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from netlens.errors import ImageError
from netlens.files import LONGEST_NAME


def output_path(output: str | None, default: str, inputs: Sequence[str] = (), suffix: str = ".png") -> Path:
    """The file to write, by `-o` or its default name in the working folder; checked."""
    path = Path(default if output is None else output)
    if path.is_dir():
        path = path / default
    if path.suffix.lower() != suffix:
        raise ImageError(f"the picture is written as {suffix[1:].upper()}, not as {path}; give a {suffix} file.")
    check_output(path, inputs)
    return path


def check_output(path: Path, inputs: Sequence[str]) -> None:
    """Raise if a file cannot be written, or if it is one of the inputs or lies in a folder of inputs."""
    if not all(inputs):
        raise ImageError("the name of an image is empty; give its path.")
    folder = path.absolute().parent
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise ImageError(f"the name {path.name[:40]}… is too long for a file; choose a shorter -o.")
    if not folder.is_dir():
        raise ImageError(f"there is no folder {path.parent} to write {path.name} into; make it, or choose another -o.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImageError(f"the folder {path.parent} does not let {path.name} be written into it; choose another -o.")
    own = Path(os.path.realpath(path))  # `Path.resolve` raises where links lead in a circle
    for one in (Path(os.path.realpath(name)) for name in inputs):
        if one == own or (path.exists() and one.is_dir() and own.is_relative_to(one)):
            raise ImageError(f"{path} is one of the images to read and would be overwritten; choose another -o.")


def file_name(text: str) -> str:
    """Text as part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in text).strip("-")[:80]

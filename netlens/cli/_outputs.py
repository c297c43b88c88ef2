"""Output files. They are checked before a command starts its work, and they never overwrite an input."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from netlens.errors import ImageError
from netlens.files import LONGEST_NAME


def output_path(output: str | None, default: str, inputs: Sequence[str] = (), suffix: str = ".png") -> Path:
    """The checked path of the file to write: from `-o`, or else the default name in the working folder."""
    path = Path(default if output is None else output)
    if path.is_dir():
        path = path / default
    if path.suffix.lower() != suffix:
        raise ImageError(f"the picture is written as {suffix[1:].upper()}, so {path} must end in {suffix}.")
    check_output(path, inputs)
    return path


def check_output(path: Path, inputs: Sequence[str]) -> None:
    """Raise if a file cannot be written, or if it is one of the inputs or in a folder of inputs."""
    if not all(inputs):
        raise ImageError("the name of an image is empty; give its path.")
    folder = path.absolute().parent
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise ImageError(f"the name {path.name[:40]}… is too long for a file; choose a shorter -o.")
    if not folder.is_dir():
        raise ImageError(f"there is no folder {path.parent} for {path.name}; make it, or choose another -o.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImageError(f"cannot write {path.name} into the folder {path.parent}; choose another -o.")
    target = Path(os.path.realpath(path))  # `Path.resolve` raises for links that form a circle
    for source in (Path(os.path.realpath(name)) for name in inputs):
        if source == target or (path.exists() and source.is_dir() and target.is_relative_to(source)):
            raise ImageError(f"{path} is an input image and would be overwritten; choose another -o.")


def file_name(text: str) -> str:
    """The text in a form that a file name can have."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in text).strip("-")[:80]

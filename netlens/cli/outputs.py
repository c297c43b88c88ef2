"""Where pictures go: a file in a folder that is there before any work is done, never over what was read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from netlens.errors import ImageError


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
    """Raise if there is no folder for a file, or if it is one of those that are read."""
    if not path.absolute().parent.is_dir():
        raise ImageError(f"there is no folder {path.parent} to write {path.name} into; make it, or choose another -o.")
    if any(Path(one).resolve() == path.resolve() for one in inputs):
        raise ImageError(f"{path} is one of the images to read and would be overwritten; choose another -o.")


def file_name(text: str) -> str:
    """Text as part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in text).strip("-")[:80]

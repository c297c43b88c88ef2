"""Files of pictures: a folder by class, a CSV file, a list."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netlens.classes import ClassNames
from netlens.errors import ImageError, NetLensError
from netlens.images import SUFFIXES
from netlens.survey._labels import indices_of, plain
from netlens.survey._samples import NO_LABEL, Data, Sample, state_of


@dataclass(frozen=True)
class Files(Data):
    """Files of pictures. A file is known by its name, size and time of change.

    Args:
        root: The folder in which they lie.
        names: The path of each file within the folder.
        labels: The class of each file.
    """

    root: Path
    names: tuple[str, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def load(self, index: int) -> Sample:
        return Sample(self.root / self.names[index], self.labels[index])

    def identity(self, start: int, stop: int) -> Any:
        return [(self.names[i], self.labels[i], *state_of(self.root / self.names[i])) for i in range(start, stop)]


def of_list(root: Path, names: Sequence[str], labels: Sequence[Any], classes: ClassNames | None) -> Files:
    """Files with their labels: None, an index, or a text."""
    return Files(root, tuple(names), indices_of(labels, classes))


def of_folder(root: Path, classes: ClassNames | None) -> Files:
    """All pictures in a folder. The class of a picture is the first folder on its path."""
    paths = (path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    names = sorted(path.as_posix() for path in paths)
    if not names:
        raise ImageError(f"{root} holds no images ({', '.join(SUFFIXES)}){_others(root)}.")
    folders = [name.split("/")[0] if "/" in name else None for name in names]
    try:
        return of_list(root, names, folders, classes)
    except NetLensError as error:
        folder_names = sorted({folder for folder in folders if folder is not None})
        # if there is one folder for each class, they are the classes in their order, as those of ImageNet are
        if classes is None or len(folder_names) != len(classes) or _whole(folder_names, classes):
            raise NetLensError(f"{root}: {error}") from error
        return Files(root, tuple(names), tuple(NO_LABEL if f is None else folder_names.index(f) for f in folders))


def _others(root: Path) -> str:
    """A hint for an error: how to name the files of a folder whose files hold many samples each."""
    for suffix in (".tar", ".parquet"):
        if any(root.glob(f"*{suffix}")):
            return f"; for its files of samples, give '{root}/*{suffix}', or a list of some of them"
    return ""


def _whole(folders: Sequence[str], classes: ClassNames) -> bool:
    """Whether any folder has the name of a class."""
    return any(plain(folder) in map(plain, classes) for folder in folders)


def of_table(path: Path, classes: ClassNames | None) -> Files:
    """The rows of a CSV file: a column `image` with paths within the folder of the file, and perhaps `label`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a null byte in the path
        raise NetLensError(f"{path} cannot be read as a folder or a CSV file ({error}); check the path.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="", restval="")
    if reader.fieldnames is None or "image" not in reader.fieldnames:
        raise NetLensError(f"{path} has no column `image`; its first line names the columns: image,label.")
    try:
        rows = list(reader)
    except csv.Error as error:
        raise NetLensError(f"{path} is no CSV file ({error}).") from error
    labels = [row["label"] if row.get("label") else None for row in rows]
    return of_list(path.parent, [row["image"] for row in rows], labels, classes)

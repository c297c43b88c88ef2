"""Data: the samples of a survey, from a folder by class, a CSV, a list of files, or a data set of torch."""

from __future__ import annotations

import csv
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any, NamedTuple

from netlens.classes import ClassNames
from netlens.errors import ImageError, NetLensError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
NO_LABEL = -1


class Sample(NamedTuple):
    """What a network is asked about.

    Attributes:
        image: A picture in any form, or a preprocessed tensor (C, H, W).
        label: The index of its class; -1 if there is none.
    """

    image: Any
    label: int


class Data(ABC):
    """Abstract: numbered samples. A subclass can be sent to another process."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """The name of a sample, for people."""

    @abstractmethod
    def load(self, index: int) -> Sample:
        """The sample. Raise an error of netlens if it cannot be read."""

    @abstractmethod
    def identity(self, start: int, stop: int) -> Any:
        """What tells samples from others of the same names: plain values, for a fingerprint."""


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
        return [(self.names[i], self.labels[i], *_state_of(self.root / self.names[i])) for i in range(start, stop)]


@dataclass(frozen=True)
class Items(Data):
    """A data set of torch: anything with a length whose items are images, or pairs of an image and a label.

    Args:
        dataset: The data set. An item must be the same each time, and its image may be any picture or a float tensor
            (C, H, W), which counts as preprocessed.
    """

    dataset: Any

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, index: int) -> str:
        return f"#{index}"

    def load(self, index: int) -> Sample:
        try:
            item = self.dataset[index]
        except (OSError, ValueError) as error:  # the data set opens files by itself
            raise ImageError(
                f"the data set cannot give item {index} ({' '.join(str(error).split())[:120]})."
            ) from error
        image, label = item if isinstance(item, tuple | list) and len(item) == 2 else (item, NO_LABEL)
        try:
            return Sample(image, int(label))
        except (TypeError, ValueError) as error:
            raise NetLensError(
                f"item {index} of the data set has the label {label!r:.80}, which is no class."
            ) from error

    def identity(self, start: int, stop: int) -> Any:
        return [start, stop]  # the data set itself is part of the fingerprint of the survey


def data_from(data: Any, classes: ClassNames | None) -> Data:
    """The data that a person means: a folder, a CSV file, a list of files or of (file, label), or a data set.

    Args:
        data: What a person gives.
        classes: The classes of the network, by which labels are named.

    Raises:
        NetLensError: There is no sample, or a label is no class of the network.
    """
    if isinstance(data, Data):
        return data
    if isinstance(data, str | os.PathLike):
        path = Path(data)
        found: Data = _folder(path, classes) if path.is_dir() else _table(path, classes)
    elif isinstance(data, list | tuple) and all(_is_file(item) for item in data):
        pairs = [(item[0], item[1]) if isinstance(item, list | tuple) else (item, None) for item in data]
        found = _files(Path(), [os.fspath(path) for path, _ in pairs], [label for _, label in pairs], classes)
    elif hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        found = Items(data)
    else:
        raise NetLensError(
            f"a {type(data).__name__} is no data for a survey; give a folder, a CSV, a list of files or a data set."
        )
    if len(found) == 0:
        raise NetLensError("a survey needs at least one sample; the data has none.")
    return found


def _is_file(item: Any) -> bool:
    first = item[0] if isinstance(item, list | tuple) and len(item) == 2 else item
    return isinstance(first, str | os.PathLike)


def _folder(root: Path, classes: ClassNames | None) -> Files:
    """All pictures in a folder. The class of a picture is the first folder on its path."""
    paths = (path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    names = sorted(path.as_posix() for path in paths)
    if not names:
        raise ImageError(f"{root} holds no images ({', '.join(SUFFIXES)}).")
    folders = [name.split("/")[0] if "/" in name else None for name in names]
    try:
        return _files(root, names, folders, classes)
    except NetLensError as error:
        known = sorted({folder for folder in folders if folder is not None})
        # folders of other names are classes in their order, as those of ImageNet are, if there are as many
        if classes is None or len(known) != len(classes) or _whole(known, classes):
            raise NetLensError(f"{root}: {error}") from error
        return Files(root, tuple(names), tuple(NO_LABEL if f is None else known.index(f) for f in folders))


def _whole(folders: Sequence[str], classes: ClassNames) -> bool:
    """Whether any folder has the name of a class."""
    return any(_plain(folder) in map(_plain, classes) for folder in folders)


def _table(path: Path, classes: ClassNames | None) -> Files:
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
    return _files(path.parent, [row["image"] for row in rows], labels, classes)


def _files(root: Path, names: Sequence[str], labels: Sequence[Any], classes: ClassNames | None) -> Files:
    """Files with their labels: None, an index, or a text."""
    try:
        given = [NO_LABEL if label is None else label if isinstance(label, str) else index(label) for label in labels]
    except TypeError as error:
        raise NetLensError(f"a label of a file is the name or the index of a class ({error}).") from error
    named = _indices(sorted({label for label in given if isinstance(label, str)}), classes)
    return Files(root, tuple(names), tuple(named[label] if isinstance(label, str) else label for label in given))


def _indices(labels: Sequence[str], classes: ClassNames | None) -> dict[str, int]:
    """The class of each label: of this whole name, or of this index; without classes of names, in their order."""
    named = {} if classes is None else {_plain(name): index for index, name in enumerate(classes)}
    if all(_plain(label) in named for label in labels):
        return {label: named[_plain(label)] for label in labels}
    if all(label.isascii() and label.isdecimal() for label in labels):
        return {label: int(label) for label in labels}
    if classes is None:
        return {label: index for index, label in enumerate(labels)}
    missing = [label for label in labels if _plain(label) not in named]
    raise NetLensError(
        f"{len(missing)} of {len(labels)} labels are no class of the network, such as {missing[0]!r}; give whole names "
        f"such as {classes[0]!r}, or indices, in a CSV or a list of (file, label)."
    )


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").split())


def _state_of(path: Path) -> tuple[int, int] | tuple[()]:
    try:
        found = path.stat()
    except (OSError, ValueError):  # a file that is not there is listed when it is read
        return ()
    return found.st_size, found.st_mtime_ns

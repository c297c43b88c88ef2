"""Parquet files of samples, as Hugging Face publishes data sets: a column of pictures and one of labels."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

from netlens.classes import ClassNames
from netlens.errors import ImageError, NetLensError
from netlens.extras import extra
from netlens.survey._labels import indices_of, renumbered
from netlens.survey._samples import MOST_BYTES, NO_LABEL, Data, Sample, state_of

_IN_MEMORY = 2
"""How many row groups stay in memory: that of one shard, and that of the next."""
_MOST_GROUP = 2**31
"""The largest row group, in bytes: it is read as a whole."""
_IMAGES = ("image", "img", "jpg", "png")
_LABELS = ("label", "labels", "fine_label", "cls")


class _Groups:
    """The row groups that were read last. A copy, also in another process, starts empty."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._groups: OrderedDict[tuple[int, int], Any] = OrderedDict()

    def __reduce__(self) -> tuple[type[_Groups], tuple[()]]:
        return _Groups, ()

    def of(self, key: tuple[int, int], read: Callable[[], Any]) -> Any:
        """A row group, which is read if it is not there."""
        with self._lock:
            if key not in self._groups:
                while len(self._groups) >= _IN_MEMORY:
                    self._groups.popitem(last=False)
                self._groups[key] = read()
            self._groups.move_to_end(key)
            return self._groups[key]


@dataclass(frozen=True)
class Parquet(Data):
    """The rows of Parquet files. A row is known by the name, size and time of change of its file, and by its number.

    Args:
        paths: The files.
        image: The column of the pictures.
        groups: The number of the first row of each row group, for each file; at its end, the number of its rows.
        labels: The class of each row of all files.
    """

    paths: tuple[Path, ...]
    image: str
    groups: tuple[tuple[int, ...], ...]
    labels: tuple[int, ...]
    _starts: tuple[int, ...] = field(init=False, repr=False)
    _cache: _Groups = field(default_factory=_Groups, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_starts", (0, *accumulate(groups[-1] for groups in self.groups)))

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        file, row = self._place(index)
        return f"{self.paths[file].name}#{row}"

    def load(self, index: int) -> Sample:
        file, row = self._place(index)
        group = bisect_right(self.groups[file], row) - 1
        try:
            cells = self._cache.of((file, group), lambda: self._read(file, group))
        except (OSError, ValueError) as error:  # pyarrow's errors are among them
            raise ImageError(f"{self.paths[file]} cannot be read ({_line(error)}); download it again.") from error
        cell = cells[row - self.groups[file][group]]
        if not cell.is_valid:
            raise ImageError(f"row {row} holds no bytes of a picture.")
        octets = cell.as_buffer()
        if octets.size > MOST_BYTES:
            raise ImageError(f"it has {octets.size:,} bytes, over the limit of {MOST_BYTES:,}; shrink the picture.")
        return Sample(octets.to_pybytes(), self.labels[index])

    def identity(self, start: int, stop: int) -> Any:
        places = [self._place(index) for index in range(start, stop)]
        states = {file: (self.paths[file].name, *state_of(self.paths[file])) for file in {file for file, _ in places}}
        return [(*states[file], row, self.labels[start + i]) for i, (file, row) in enumerate(places)]

    @property
    def content(self) -> Any:
        return self.image

    def _place(self, index: int) -> tuple[int, int]:
        """The file of a sample, and its row there."""
        file = bisect_right(self._starts, index) - 1
        return file, index - self._starts[file]

    def _read(self, file: int, group: int) -> Any:
        """The bytes of the pictures of a row group."""
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile

        with ParquetFile(self.paths[file]) as opened:
            kind = opened.schema_arrow.field(self.image).type
            column = f"{self.image}.bytes" if pa.types.is_struct(kind) else self.image
            cells = opened.read_row_group(group, columns=[column], use_threads=False).column(0)
        cells = cells.combine_chunks()
        return cells.field("bytes") if pa.types.is_struct(kind) else cells


def of_parquet(paths: Sequence[Path], classes: ClassNames | None) -> Parquet:
    """The rows of Parquet files.

    The pictures are the column that Hugging Face's schema calls an image, or else one of the name `image`, `img`, `jpg`
    or `png`: bytes, or a struct with bytes. The labels are the column of the schema's first classes, or else one of the
    name `label`, `labels`, `fine_label` or `cls`, with numbers or names.

    Raises:
        NetLensError: pyarrow is missing, a file has no such columns, or a label is no class of the network.
    """
    with extra("survey", "Parquet files need PyArrow"):
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile
    image, classes_of_data = "", None
    raw_labels: list[Any] = []
    groups: list[tuple[int, ...]] = []
    for number, path in enumerate(paths):
        try:
            with ParquetFile(path) as opened:
                column, label, names = _columns(opened.schema_arrow, path)
                if number and (column, names) != (image, classes_of_data):
                    raise NetLensError(
                        f"{path} has other columns or classes than {paths[0]}; give files of one data set."
                    )
                image, classes_of_data = column, names
                groups.append(_starts_of(opened.metadata, image, path))
                table = None if label is None else opened.read(columns=[label])
                raw_labels += [None] * groups[-1][-1] if table is None else table.column(0).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise NetLensError(f"{path} is no whole Parquet file ({_line(error)}); download it again.") from error
    if classes_of_data is None:
        labels = indices_of(raw_labels, classes)
    else:
        numbers = renumbered(classes_of_data, classes)
        if wrong := [label for label in raw_labels if label is not None and label >= len(numbers)]:
            raise NetLensError(f"{paths[0]} has {len(numbers)} classes, but a row has the label {wrong[0]}.")
        labels = tuple(NO_LABEL if label is None or label < 0 else numbers[label] for label in raw_labels)
    return Parquet(tuple(paths), image, tuple(groups), labels)


def _columns(schema: Any, path: Path) -> tuple[str, str | None, list[str] | None]:
    """The columns of the pictures and of the labels, and the names of the classes; None where there are none."""
    import pyarrow as pa

    try:
        text = json.loads((schema.metadata or {})[b"huggingface"])
        features: dict[str, Any] = {
            name: one if isinstance(one, dict) else {} for name, one in text["info"]["features"].items()
        }
    except (KeyError, ValueError, TypeError, AttributeError):
        features = {}

    def holds_bytes(name: str) -> bool:
        kind = schema.field(name).type
        if pa.types.is_struct(kind):
            kind = next((one.type for one in kind if one.name == "bytes"), None)
        return kind is not None and bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    wanted = [name for name in schema.names if features.get(name, {}).get("_type") == "Image"]
    image = next((n for n in (*wanted, *_IMAGES) if n in schema.names and holds_bytes(n)), None)
    if image is None:
        raise NetLensError(
            f"{path} has the columns {', '.join(schema.names)}, and none of pictures; name it 'image', with the bytes "
            "of a picture in each row."
        )
    classed = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    label = next((name for name in (*classed, *_LABELS) if name in schema.names), None)
    names = features[classed[0]].get("names") if classed else None
    return image, label, names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _starts_of(metadata: Any, image: str, path: Path) -> tuple[int, ...]:
    """The first row of each row group, and the number of rows."""
    sizes = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = map(group.column, range(group.num_columns))
        size = sum(c.total_uncompressed_size for c in columns if c.path_in_schema.split(".")[0] == image)
        if size > _MOST_GROUP:
            raise NetLensError(
                f"{path} has a row group of {size:,} bytes, over the limit of {_MOST_GROUP:,}, and a group is read as "
                "a whole; write the file with smaller ones, such as row_group_size=100."
            )
        sizes.append(group.num_rows)
    return tuple(accumulate(sizes, initial=0))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]

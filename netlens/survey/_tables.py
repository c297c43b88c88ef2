"""Tables: the results of a survey, in columns, for pandas and as files that other programs read."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from netlens import files
from netlens.extras import extra
from netlens.heatmaps import ResultError

Columns = Mapping[str, Sequence[Any]]
"""The columns of a table by name, all of one length."""


def listed(values: Tensor) -> list[Any]:
    """The numbers of a tensor, as numbers of Python."""
    numbers: list[Any] = values.tolist()
    return numbers


def class_name(index: int, classes: Sequence[str] | None) -> str | None:
    """The name of a class; its number if it has none, and None for a sample without a label.

    Example:
        >>> class_name(1, ["cat", "dog"]), class_name(1, None), class_name(-1, None)
        ('dog', '1', None)
    """
    if index < 0:
        return None
    return str(index) if classes is None or index >= len(classes) else classes[index]


def frame_of(columns: Columns) -> Any:
    """A DataFrame of pandas.

    Raises:
        NetLensError: Pandas is not installed.
    """
    with extra("survey", "a table needs pandas"):
        import pandas as pd
    return pd.DataFrame({name: list(values) for name, values in columns.items()})


SAMPLES = {
    "sample": "int64",
    "name": "string",
    "label": "string",
    "predicted": "string",
    "confidence": "float64",
    "loss": "float64",
    "top5": "list",
}
CHANNELS = {
    "layer": "string",
    "channel": "int64",
    "count": "int64",
    "mean": "float64",
    "variance": "float64",
    "least": "float32",
    "most": "float32",
    "zeros": "float64",
}
PEAKS = {
    "kind": "string",
    "layer": "string",
    "channel": "int64",
    "rank": "int64",
    "sample": "int64",
    "name": "string",
    "value": "float32",
    **dict.fromkeys(("row", "column", "top", "bottom", "left", "right"), "int32"),
}
TYPES = {"samples": SAMPLES, "channels": CHANNELS, "peaks": PEAKS}
"""The columns of each file with their types, in the words of Arrow; "list" is a list of texts."""


def joined(tables: Iterable[Columns]) -> Columns:
    """The rows of several tables with the same columns, below each other; no columns if there is no table."""
    columns: dict[str, list[Any]] = {}
    for table in tables:
        for name, values in table.items():
            columns.setdefault(name, []).extend(values)
    return columns


def write_tables(folder: Path, tables: Mapping[str, Columns]) -> tuple[Path, ...]:
    """Write tables as parquet files into a folder, which is made. Each is written whole or not at all.

    Args:
        folder: The folder.
        tables: The columns of each table, by a name of `TYPES`.

    Raises:
        NetLensError: PyArrow is not installed.
        ResultError: A file cannot be written.
    """
    with extra("survey", "Parquet files need PyArrow"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    written = []
    for table, columns in tables.items():
        kinds = {n: pa.list_(pa.string()) if kind == "list" else kind for n, kind in TYPES[table].items()}
        buffer = io.BytesIO()
        # None and NaN, as of a sample without a label, are missing values
        arrays = {name: pa.array(columns[name], kind, from_pandas=True) for name, kind in kinds.items()}
        pq.write_table(pa.table(arrays), buffer)
        path = folder / f"{table}.parquet"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            written.append(files.write(path, buffer.getvalue()))
        except OSError as error:
            raise ResultError(f"{path} cannot be written: {error.strerror}.") from error
    return tuple(written)

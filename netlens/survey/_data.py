"""Data: what a person gives becomes numbered samples."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from netlens.classes import ClassNames
from netlens.errors import NetLensError
from netlens.survey._files import of_folder, of_list, of_table
from netlens.survey._items import of_items
from netlens.survey._parquet import of_parquet
from netlens.survey._samples import Data
from netlens.survey._tars import of_tars

_HOLDERS = {".tar": of_tars, ".parquet": of_parquet}
"""How files are read that hold many samples each, by suffix."""


def data_from(data: Any, classes: ClassNames | None) -> Data:
    """The numbered samples of data in any form.

    Args:
        data: A folder, a CSV file, a list of files or of (file, label), tars or Parquet files as a path, a pattern or a
            list, or a data set.
        classes: The classes of the network, by which labels are named.

    Raises:
        NetLensError: There is no sample, or a label is no class of the network.
    """
    if isinstance(data, Data):
        return data
    samples = _data_of(data, classes)
    if len(samples) == 0:
        raise NetLensError("a survey needs at least one sample; the data has none.")
    return samples


def _data_of(data: Any, classes: ClassNames | None) -> Data:
    if isinstance(data, str | os.PathLike):
        path = Path(data)
        if path.is_dir():
            return of_folder(path, classes)
        paths = _matching(os.fspath(data))
        return of_table(path, classes) if _suffix(paths) is None else _HOLDERS[str(_suffix(paths))](paths, classes)
    if isinstance(data, list | tuple) and all(_is_file(item) for item in data):
        if all(isinstance(item, str | os.PathLike) for item in data) and (suffix := _suffix(list(map(Path, data)))):
            return _HOLDERS[suffix](list(map(Path, data)), classes)
        pairs = [(item[0], item[1]) if isinstance(item, list | tuple) else (item, None) for item in data]
        return of_list(Path(), [os.fspath(path) for path, _ in pairs], [label for _, label in pairs], classes)
    if hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        return of_items(data, classes)
    raise NetLensError(
        f"a {type(data).__name__} is no data for a survey; give a folder, a CSV, a list of files, tars, Parquet files "
        "or a data set that has a length."
    )


def _matching(pattern: str) -> list[Path]:
    """The files of a pattern such as `shards/*.tar`, sorted; the path of a file gives this file."""
    path = Path(pattern)
    if path.exists() or not any(sign in pattern for sign in "*?["):
        return [path]
    paths = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    if not paths:
        raise NetLensError(f"no file fits the pattern {pattern} (working folder: {Path.cwd()}).")
    return paths


def _suffix(paths: Sequence[Path]) -> str | None:
    """The suffix of files that hold many samples each; None for other files.

    Raises:
        NetLensError: Only some of them are such files.
    """
    suffixes = {path.suffix.lower() for path in paths}
    holding = suffixes & _HOLDERS.keys()
    if holding and len(suffixes) > 1:
        raise NetLensError(f"the data are files of several kinds ({', '.join(sorted(suffixes))}); give one kind.")
    return holding.pop() if holding else None


def _is_file(item: Any) -> bool:
    first = item[0] if isinstance(item, list | tuple) and len(item) == 2 else item
    return isinstance(first, str | os.PathLike)

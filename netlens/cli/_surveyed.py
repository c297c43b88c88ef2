"""The folder of a survey: its parts, its result, and what opens its network and its pictures again."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from netlens import files
from netlens.errors import NetLensError

PARTS, RESULT, RECORD, REPORT, TABLES = "parts", "survey.safetensors", "survey.json", "report", "tables"
_FORMAT = 1
_LARGEST = 1_000_000  # bytes of a record; a larger file is none


@dataclass(frozen=True)
class Surveyed:
    """What a survey is about, as its folder keeps it. Paths are absolute.

    Args:
        data: The folder or the CSV file.
        model: The network, as for `--model`.
        weights: Its weights, as for `--weights`.
        classes: The file of the names of its classes; None for its own.
        layers: The layers that were asked about, by their names; None for the usual ones.
        top: The number of pictures of each channel.
        predictions: Whether the survey asks for predictions.
        shard: The number of samples of a part.
    """

    data: str
    model: str
    weights: str
    classes: str | None
    layers: tuple[str, ...] | None
    top: int
    predictions: bool
    shard: int

    @property
    def runs_code(self) -> bool:
        """Whether the network comes from a Python file, which is run when it is opened."""
        return ".py" in Path(self.model.rpartition(":")[0] or self.model).suffix

    @property
    def title(self) -> str:
        """What a report is about, in a few words."""
        path = Path(self.data)
        return f"{Path(self.model).name} on {path.parent.name}/{path.name}"


def network_named(model: str) -> str:
    """The name of a network, which means the same in each working folder: paths become absolute.

    Example:
        >>> network_named("resnet18"), network_named("/nets/a.py:make")
        ('resnet18', '/nets/a.py:make')
    """
    path, colon, function = model.rpartition(":")
    if colon and path.endswith(".py"):
        return f"{Path(path).absolute()}:{function}"
    # a folder that happens to have the name of a network does not hide that network
    is_folder = (Path(model) / "config.json").is_file() or ("/" in model and Path(model).is_dir())
    return str(Path(model).absolute()) if is_folder and not model.startswith(("hf/", "timm/")) else model


def weights_named(weights: str) -> str:
    """The name of weights, which means the same in each working folder: the path of a file becomes absolute."""
    return str(Path(weights).absolute()) if Path(weights).suffix and Path(weights).is_file() else weights


def claim(folder: Path, record: Surveyed) -> None:
    """Make a folder for this survey, or go on in it.

    Raises:
        NetLensError: It holds something else, or another survey.
    """
    try:
        if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
            earlier = read(folder)
            changed = [one.name for one in fields(record) if getattr(earlier, one.name) != getattr(record, one.name)]
            if changed and not (folder / RESULT).exists() and not any((folder / PARTS).glob("*")):
                changed = []  # nothing came of it
                _write(folder, record)
            if changed:
                was = ", ".join(f"{name} {getattr(earlier, name)!r}" for name in changed)
                raise NetLensError(f"{folder} holds another survey, with {was}; choose another -o.")
            return
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder, record)
    except OSError as error:
        raise NetLensError(f"cannot write into the folder {folder}: {error.strerror}; choose another -o.") from error


def read(folder: Path) -> Surveyed:
    """What the survey of a folder is about.

    Raises:
        NetLensError: The folder holds no survey.
    """
    path = folder / RECORD
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("survey") != _FORMAT:
            raise ValueError
        record = Surveyed(**{**values, "layers": None if values["layers"] is None else tuple(values["layers"])})
        texts = (record.data, record.model, record.weights, *(record.layers or ()))
        if not all(isinstance(text, str) for text in texts) or not isinstance(record.classes, str | None):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NetLensError(f"{folder} holds no survey of `netlens survey`; choose another folder.") from error
    return record


def _write(folder: Path, record: Surveyed) -> None:
    files.write(folder / RECORD, json.dumps({"survey": _FORMAT, **asdict(record)}, indent=1).encode())

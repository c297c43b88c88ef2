"""The jobs of a batch. The whole file is checked first, so that a mistake raises at once, and not after hours."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from netlens import images
from netlens.errors import NetLensError
from netlens.files import LONGEST_NAME
from netlens.options import check_names
from netlens.visualization.style._choices import STARTS, shares
from netlens.visualization.style._settings import as_settings, from_settings
from netlens.visualization.style._sight import extent, mask_of, style_side
from netlens.visualization.style._transfer import StyleTransfer

_NETWORK = ("model", "weights")
_PAIR = ("name", "content", "style", "content_mask", "style_mask")
_USUAL, _USUAL_WEIGHTS = "shapes", "pretrained"

SHEET = "contact.jpg"
"""The name of the contact sheet, in the folder that holds the folders of the pairs."""

LARGEST = 10_000_000  # the largest size of a file with pairs and settings, in bytes


@dataclass(frozen=True)
class Job:
    """One picture to make: its files, its options, and the name and weights of the network.

    The result is in the folder `{pair}/{settings}/` of the output.
    """

    pair: str
    settings: str
    content: Path
    styles: tuple[Path, ...]
    masks: tuple[tuple[Path | None, Path | None], ...]
    transfer: StyleTransfer
    model: str
    weights: str

    @property
    def start(self) -> Path | None:
        """The picture at which the transfer starts. None if it starts at the content, the style or noise."""
        return None if self.transfer.start in STARTS else Path(self.transfer.start)

    @property
    def files(self) -> list[Path]:
        """All pictures that the job reads."""
        files = [self.content, *self.styles, *(mask for pair in self.masks for mask in pair), self.start]
        return [file for file in files if file is not None]

    @property
    def request(self) -> dict[str, Any]:
        """Everything that determines the picture: fingerprints of the files, the options, the network."""
        files: dict[str, Any] = {
            "content": _fingerprint(self.content),
            "styles": [_fingerprint(path) for path in self.styles],
            "masks": [[None if mask is None else _fingerprint(mask) for mask in pair] for pair in self.masks],
        }
        file = Path(self.weights)
        weights = _fingerprint(file) if file.is_file() else self.weights
        if self.start is not None:
            files["start"] = _fingerprint(self.start)
        # the fingerprint replaces the path, because there may be several paths to a file
        transfer = self.transfer if self.start is None else replace(self.transfer, start=STARTS[0])
        request = files | {"options": as_settings(transfer), "model": self.model, "weights": weights}
        plain: dict[str, Any] = json.loads(json.dumps(request))  # as a file would give it back
        return plain


@dataclass(frozen=True)
class _Pair:
    name: str
    content: Path
    styles: tuple[Path, ...]
    masks: tuple[tuple[Path | None, Path | None], ...]
    extents: tuple[tuple[int, int], ...]  # height and width of the content and of each style


def read_jobs(
    path: Path,
    model: str | None,
    weights: str | None,
    root: Path | None = None,
    admit: Callable[[int, Sequence[Path]], None] | None = None,
) -> tuple[Job, ...]:
    """The jobs of a file: all pairs with all settings.

    Args:
        path: The file.
        model: The network of settings without a network.
        weights: The weights of this network.
        root: The folder to which the names of pictures are relative, and in which they must lie; None for that of the
            file, where names may lead out of it.
        admit: Gets the number of jobs, and the pictures that the file names, before any of them is read; see
            `Batch.read`.
    """
    data = _parsed(path)
    check_names(str(path), data, (*_NETWORK, "pairs", "settings"))
    listed, settings = data.get("pairs"), data.get("settings", {"default": {}})
    if not isinstance(listed, list) or not listed or not all(isinstance(pair, dict) for pair in listed):
        raise NetLensError(f"{path} needs a list of pairs, each with a content and a style.")
    if not isinstance(settings, dict) or not settings or not all(isinstance(s, dict) for s in settings.values()):
        raise NetLensError(f"{path}: settings must be a mapping from names to options.")
    if root is not None:
        _check_inside(str(path), root, listed, list(settings.values()))
    root = path.parent if root is None else root
    if admit is not None:
        admit(len(listed) * len(settings), [root / name for name in _named(listed, list(settings.values()))])
    opened = _Opened()
    overrides = {name: value for name, value in zip(_NETWORK, (model, weights), strict=True) if value is not None}
    if overrides and all(set(_NETWORK) & set(data | options) for options in settings.values()):
        raise NetLensError(f"{path} names the network of every picture; leave out model and weights.")
    pairs = [_within(str(path), _pair, pair, root, opened) for pair in listed]
    jobs = []
    for name, options in settings.items():
        location = f"{path}, settings {name!r}"
        network = _within(location, _network, data, options, overrides, root)
        transfer = _within(location, _transfer, options, root, opened)
        _within(location, _check_folder, name)
        jobs.append([_within(location, _job, pair, name, transfer, *network) for pair in pairs])
    pair_names = [job.pair for job in jobs[0]]
    twice = next((pair_name for pair_name in pair_names if pair_names.count(pair_name) > 1), None)
    if twice is not None:
        raise NetLensError(f"{path} has two pairs called {twice!r}; give one of them another name.")
    return tuple(job for of_pair in zip(*jobs, strict=True) for job in of_pair)


def _check_inside(location: str, root: Path, pairs: Sequence[Mapping[str, Any]], settings: Sequence[Any]) -> None:
    """Raise if the name of a picture leads out of a folder."""
    folder = os.path.realpath(root)
    for name in _named(pairs, settings):
        if "\0" in name or not Path(os.path.realpath(root / name)).is_relative_to(folder):
            raise NetLensError(f"{location}: {name[:80]!r} leads out of the folder of the pictures; give names in it.")


def _named(pairs: Sequence[Mapping[str, Any]], settings: Sequence[Any]) -> list[str]:
    """The names of all pictures, each once."""
    names = [name for pair in pairs for key in _PAIR[1:] for name in _listed(pair.get(key))]
    starts = [options.get("start") for options in settings]
    names += [start for start in starts if start not in STARTS]
    return list(dict.fromkeys(name for name in names if isinstance(name, str)))


class _Opened:
    """The pictures of a file: each is opened once, however often the file names it."""

    def __init__(self) -> None:
        self.size = cache(lambda file: images.load(file).size)
        self.mask = cache(lambda file: _check_mask(file))


def _check_mask(file: Path) -> None:
    mask_of(file, str(file))


def _within(location: str, function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except NetLensError as error:
        raise type(error)(f"{location}: {error}") from error


def _pair(data: Mapping[str, Any], root: Path, opened: _Opened) -> _Pair:
    check_names("a pair", data, _PAIR)
    content, styles = data.get("content"), _listed(data.get("style"))
    for key, is_given in (("content", content is not None), ("style", bool(styles))):
        if not is_given:
            raise NetLensError(f"a pair has no {key}: {dict(data)!r}.")
    sides = [_listed(data.get(key)) or [None] * len(styles) for key in ("content_mask", "style_mask")]
    masks = [mask for side in sides for mask in side if mask is not None]
    if not all(isinstance(file, str) for file in (content, *styles, *masks)):
        raise NetLensError(f"pictures must be names of files: {dict(data)!r}.")
    if any(len(side) != len(styles) for side in sides):
        raise NetLensError(f"{len(styles)} style(s) need {len(styles)} mask(s): {dict(data)!r}.")
    for mask in masks:
        opened.mask(root / mask)
    files = [root / file for file in (content, *styles)]
    name = data.get("name", "-".join(file.stem for file in files))
    _check_folder(name)
    sizes = [opened.size(file) for file in files]
    content_masks, style_masks = ([None if file is None else root / file for file in side] for side in sides)
    return _Pair(
        name=name,
        content=files[0],
        styles=tuple(files[1:]),
        masks=tuple(zip(content_masks, style_masks, strict=True)),
        extents=tuple((height, width) for width, height in sizes),
    )


def _network(
    data: Mapping[str, Any], options: Mapping[str, Any], overrides: Mapping[str, Any], root: Path
) -> tuple[str, str]:
    """The model and weights of settings: from the settings, else from the file, else from `overrides`.

    The model and the weights come from the same source. The only exception: settings may name other weights for the
    model of the file.
    """
    of_file, of_settings = ({key: level[key] for key in _NETWORK if key in level} for level in (data, options))
    named = of_settings if "model" in of_settings else of_file | of_settings
    if named and "model" not in named:
        raise NetLensError("the file names weights without a model; name the model, too.")
    network = named or {"model": _USUAL} | dict(overrides)
    model, weights = network["model"], network.get("weights", _USUAL_WEIGHTS)
    if not isinstance(model, str) or not isinstance(weights, str):
        raise NetLensError(f"model and weights must be names, not {model!r} and {weights!r}.")
    if named and (root / weights).is_file():
        weights = str(root / weights)
    return model, weights


def _transfer(options: Mapping[str, Any], root: Path, opened: _Opened) -> StyleTransfer:
    start = options.get("start", "content")
    if isinstance(start, str) and start not in STARTS:
        opened.size(root / start)
        options = {**options, "start": str(root / start)}
    return from_settings({key: value for key, value in options.items() if key not in _NETWORK})


def _job(pair: _Pair, settings: str, transfer: StyleTransfer, model: str, weights: str) -> Job:
    shares(transfer.style_weights, len(pair.styles))
    full = extent(pair.extents[0], transfer.size, str(pair.content))
    for file, size in zip(pair.styles, pair.extents[1:], strict=True):
        extent(size, style_side(full, transfer.style_scale), str(file))
    return Job(pair.name, settings, pair.content, pair.styles, pair.masks, transfer, model, weights)


def _check_folder(name: Any) -> None:
    if not isinstance(name, str) or not name or name in (".", "..", SHEET) or set(name) & set("/\\\0"):
        raise NetLensError(f"{name!r} cannot name a folder; choose another name.")
    try:
        length = len(name.encode())
    except UnicodeEncodeError as error:
        raise NetLensError(f"{name!r} has characters that a file name cannot have; choose another name.") from error
    if length > LONGEST_NAME:
        raise NetLensError(f"{name[:40]!r}… is too long to name a folder; give the pair a shorter name.")


def _listed(files: Any) -> list[Any]:
    return files if isinstance(files, list) else [] if files is None else [files]


def _parsed(path: Path) -> dict[str, Any]:
    if path.suffix not in (".json", ".toml"):
        raise NetLensError(f"{path} is neither .json nor .toml.")
    if not path.exists():
        raise NetLensError(f"{path} does not exist; check the path (working folder: {Path.cwd()}).")
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise NetLensError(f"{path} must be a regular file of at most {LARGEST:,} bytes.")
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors start a file with a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        raise NetLensError(f"{path} cannot be read; give a .json or .toml file with pairs and settings.") from error
    try:
        data = _toml(text) if path.suffix == ".toml" else json.loads(text, object_pairs_hook=_once)
    except ValueError as error:
        raise NetLensError(f"{path} is damaged: {error}.") from error
    except RecursionError as error:
        raise NetLensError(f"{path} is damaged: its brackets are nested too deeply.") from error
    if not isinstance(data, dict):
        raise NetLensError(f"{path} must hold a mapping with pairs and settings, not a {type(data).__name__}.")
    return data


def _once(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name, value in entries:
        if name in data:
            raise ValueError(f"the key {name!r} occurs twice in one mapping")
        data[name] = value
    return data


def _toml(text: str) -> dict[str, Any]:
    try:
        import tomllib
    except ModuleNotFoundError as error:
        raise NetLensError("TOML files need Python 3.11 or later (its tomllib); write the batch as .json.") from error
    document: dict[str, Any] = tomllib.loads(text)
    return document


def _fingerprint(path: Path) -> str:
    try:
        return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    except OSError as error:
        raise NetLensError(f"{path} cannot be read: {error.strerror}.") from error

"""Many style transfers from one file: pairs of pictures times settings, each done once, however often it is begun."""

from __future__ import annotations

import hashlib
import importlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from netlens import images
from netlens.errors import NetLensError, NetLensWarning
from netlens.flat import FlatModel
from netlens.results.storage import write
from netlens.style.choices import STARTS, check_names
from netlens.style.settings import as_settings, from_settings
from netlens.style.transfer import StyleTransfer

CONFIG, RESULT = "config.json", "result.jpg"
_NETWORK = ("model", "weights")
Opener = Callable[[str, str | None], FlatModel]
_PAIR = ("name", "content", "style", "content_mask", "style_mask")


@dataclass(frozen=True)
class Job:
    """One picture to make: files, options, the network's name and weights; in `{pair}/{settings}/` of the output."""

    pair: str
    settings: str
    content: Path
    styles: tuple[Path, ...]
    masks: tuple[tuple[Path | None, Path | None], ...]
    transfer: StyleTransfer
    model: str
    weights: str | None

    @property
    def asked(self) -> dict[str, Any]:
        """All that decides the picture: files by what is in them, options, the network."""
        files: dict[str, Any] = {
            "content": _fingerprint(self.content),
            "styles": [_fingerprint(path) for path in self.styles],
            "masks": [[None if one is None else _fingerprint(one) for one in pair] for pair in self.masks],
        }
        weights = None
        if self.weights is not None:
            known = Path(self.weights)
            weights = _fingerprint(known) if known.is_file() else self.weights
        if self.transfer.start not in STARTS:
            files["start"] = _fingerprint(Path(self.transfer.start))
        asked = files | {"options": as_settings(self.transfer), "model": self.model, "weights": weights}
        return json.loads(json.dumps(asked))  # as it will be read back


@dataclass(frozen=True)
class Outcome:
    """What became of a job: "made", "skipped" (it was done already) or "failed", and why."""

    job: Job
    folder: Path
    what: str
    losses: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""

    @property
    def result(self) -> Path:
        """The picture."""
        return self.folder / RESULT


@dataclass(frozen=True)
class Batch:
    """Pairs times settings, as a .json or .toml file names them.

    The file has `pairs`, a list of `{"content": file, "style": file or files}`, with a `name` if that of the files is
    not to be used and perhaps `content_mask` and `style_mask` (one for each style); and `settings`, options of
    `StyleTransfer` by name. `model` and `weights` stand at the top, or in settings of their own. Files are relative to
    that of the batch.
    """

    jobs: tuple[Job, ...]

    @classmethod
    def read(cls, path: str | Path, model: str = "shapes", weights: str | None = None) -> Batch:
        """Read and check a file, so that nothing is found wrong after hours; model and weights where it has none."""
        path = Path(path)
        given = _parsed(path)
        check_names(given, (*_NETWORK, "pairs", "settings"), str(path))
        pairs, settings = given.get("pairs"), given.get("settings", {"default": {}})
        if not isinstance(pairs, list) or not pairs or not all(isinstance(pair, dict) for pair in pairs):
            raise NetLensError(f"{path} needs a list of pairs, each with a content and a style.")
        if not isinstance(settings, dict) or not settings or not all(isinstance(s, dict) for s in settings.values()):
            raise NetLensError(f"{path}: settings are named, and each is a set of options.")
        network = {"model": given.get("model", model), "weights": given.get("weights", weights)}
        jobs = []
        for pair in pairs:
            check_names(pair, _PAIR, f"a pair of {path}")
            for name, options in settings.items():
                try:
                    jobs.append(_job(pair, name, network | options, path.parent))
                except NetLensError as error:
                    raise type(error)(f"{path}, settings {name!r}: {error}") from error
        places = [(job.pair, job.settings) for job in jobs]
        twice = next((place for place in places if places.count(place) > 1), None)
        if twice is not None:
            raise NetLensError(f"{path} has two pairs called {twice[0]!r}; give one of them another name.")
        return cls(tuple(jobs))

    def run(self, out: str | Path, opener: Opener, progress: bool = True) -> Iterator[Outcome]:
        """Make each picture that is not there yet, and yield what became of each as it is done.

        opener: how networks are opened, such as `netlens.zoo.open_network`; random weights are those of the job's seed.
        A picture counts as done when its config.json, written last, says that just this was asked. A job that fails
        does not keep the others from being done.
        """
        network = Network(opener)
        for job in self.jobs:
            folder = Path(out) / job.pair / job.settings
            try:
                asked = job.asked
                losses = _done(folder, asked)
                if losses is None:
                    yield _made(job, folder, asked, network.of(job), progress)
                else:
                    yield Outcome(job, folder, "skipped", losses)
            except NetLensError as error:
                yield Outcome(job, folder, "failed", why=str(error))


class Network:
    """The network of the job before, kept as long as the jobs want the same."""

    def __init__(self, opener: Opener) -> None:
        self.opener = opener
        self.asked: tuple[str, str | None, int] | None = None
        self.flat: FlatModel | None = None

    def of(self, job: Job) -> FlatModel:
        """That of a job, with its random numbers, if it has any, from the job's seed."""
        asked = job.model, job.weights, job.transfer.seed
        if self.flat is None or asked != self.asked:
            self.flat = None  # one at a time in memory
            self.flat = seeded(self.opener, *asked)
            self.asked = asked
        return self.flat


def seeded(opener: Opener, model: str, weights: str | None, seed: int) -> FlatModel:
    """A network opened with the global random numbers at a seed, and these then as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return opener(model, weights)


def _made(job: Job, folder: Path, asked: dict[str, Any], flat: FlatModel, progress: bool) -> Outcome:
    regions = None if not any(map(any, job.masks)) else list(job.masks)
    render = job.transfer(flat, job.content, list(job.styles), regions, progress=progress)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NetLensError(f"{folder} cannot be made a folder: {error.strerror}; choose another output.") from error
    # from here to the new config, what the folder holds is not done
    (folder / CONFIG).unlink(missing_ok=True)
    images.save(render.images[0], folder / RESULT)
    made_by = render.provenance
    losses = made_by.options["losses"]
    config = {
        "asked": asked,
        "seeds": list(render.seeds),
        "losses": losses,
        "steps": len(render.history),
        "layers": {kind: made_by.options[f"{kind}_layers"] for kind in ("content", "style")},
        "versions": dict(made_by.versions),
    }
    write(folder / CONFIG, json.dumps(config, indent=2).encode())
    return Outcome(job, folder, "made", losses)


def _done(folder: Path, asked: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The losses of a finished job; None where it is to be done."""
    config = folder / CONFIG
    if not config.is_file() or not (folder / RESULT).is_file():
        return None
    try:
        read = json.loads(config.read_text())
        return read["losses"] if read["asked"] == asked else None
    except (OSError, ValueError, TypeError, KeyError):
        warnings.warn(f"{config} is damaged; its picture is made again.", NetLensWarning, stacklevel=3)
        return None


def _job(pair: Mapping[str, Any], name: str, options: Mapping[str, Any], root: Path) -> Job:
    for key in ("content", "style"):
        if key not in pair:
            raise NetLensError(f"a pair has no {key}: {json.dumps(dict(pair))}.")
    named = [pair["content"], *(name for key in _PAIR[2:] for name in _listed(pair.get(key)))]
    if not all(name is None or isinstance(name, str) for name in named):
        raise NetLensError(f"pictures are given by their files: {json.dumps(dict(pair))}.")
    content, styles = root / pair["content"], _paths(pair["style"], root)
    sides = [_paths(pair.get(key), root) or (None,) * len(styles) for key in ("content_mask", "style_mask")]
    if any(len(side) != len(styles) for side in sides):
        raise NetLensError(f"{len(styles)} style(s) take as many masks: {json.dumps(dict(pair))}.")
    for path in (content, *styles, *(mask for side in sides for mask in side)):
        if path is not None:
            images.load(path)
    start = options.get("start", "content")
    if isinstance(start, str) and start not in STARTS:
        images.load(root / start)
        options = {**options, "start": str(root / start)}
    weights = options["weights"]
    if not isinstance(options["model"], str) or not isinstance(weights, str | None):
        raise NetLensError(f"model and weights are given by name, not {options['model']!r} and {weights!r}.")
    if weights is not None and (root / weights).is_file():
        weights = str(root / weights)
    called = str(pair.get("name", "-".join([content.stem, *(style.stem for style in styles)])))
    for part in (called, name):
        if not part or part in (".", "..") or set(part) & set("/\\\0"):
            raise NetLensError(f"{part!r} cannot name a folder; choose another name.")
    return Job(
        pair=called,
        settings=name,
        content=content,
        styles=styles,
        masks=tuple(zip(*sides, strict=True)),
        transfer=from_settings({key: value for key, value in options.items() if key not in _NETWORK}),
        model=options["model"],
        weights=weights,
    )


def _listed(files: Any) -> list[Any]:
    return files if isinstance(files, list) else [] if files is None else [files]


def _paths(files: Any, root: Path) -> tuple[Any, ...]:
    return tuple(None if file is None else root / file for file in _listed(files))


def _parsed(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise NetLensError(f"{path} cannot be read; give a .json or .toml file with pairs and settings.") from error
    try:
        if path.suffix == ".toml":
            given = _toml(text)
        elif path.suffix == ".json":
            given = json.loads(text)
        else:
            raise NetLensError(f"{path} is neither .json nor .toml.")
    except ValueError as error:
        raise NetLensError(f"{path} is damaged: {error}.") from error
    if not isinstance(given, dict):
        raise NetLensError(f"{path} holds no pairs and settings, but a {type(given).__name__}.")
    return given


def _toml(text: str) -> dict[str, Any]:
    try:
        reader = importlib.import_module("tomllib")
    except ModuleNotFoundError as error:
        raise NetLensError("TOML files need Python 3.11 or later (its tomllib); write the batch as .json.") from error
    return reader.loads(text)


def _fingerprint(path: Path) -> str:
    try:
        return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    except OSError as error:
        raise NetLensError(f"{path} cannot be read: {error.strerror}.") from error

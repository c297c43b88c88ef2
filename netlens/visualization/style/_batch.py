"""Many style transfers from one file: all pairs of pictures with all settings. A second run skips finished pictures."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netlens import images
from netlens.errors import ImageError, NetLensError, NetLensWarning
from netlens.flat import FlatModel
from netlens.results.storage import write
from netlens.visualization.style._jobs import SHEET, Job, read_jobs
from netlens.visualization.style.network import Network, Opener

CONFIG, RESULT = "config.json", "result.jpg"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job.

    Attributes:
        job: The job.
        folder: The folder of its result.
        what: "made", "skipped" (the picture existed already) or "failed".
        losses: The losses of the picture.
        why: The reason if it failed.
    """

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
    """All pairs with all settings of a .json or .toml file.

    The file has two entries. `pairs` is a list of `{"content": file, "style": file or files}`. A pair may also have a
    `name` (by default the names of its files), a `content_mask` and a `style_mask` (one for each style). `settings` is
    a mapping from names to options of `StyleTransfer`. `model` and `weights` are at the top of the file, or within
    settings. If settings have a model, the `model` and `weights` at the top do not hold for them. Paths are relative to
    the file.
    """

    jobs: tuple[Job, ...]
    source: Path | None = None

    @classmethod
    def read(
        cls,
        path: str | Path,
        model: str | None = None,
        weights: str | None = None,
        root: Path | None = None,
        admit: Callable[[int, Sequence[Path]], None] | None = None,
    ) -> Batch:
        """Read a file and check all of it, so that a mistake raises now, and not after hours.

        Args:
            path: The file.
            model: The network of all settings without a model; by default "shapes".
            weights: The weights of this network; by default "pretrained".
            root: The folder to which the names of pictures are relative, and in which they must lie; by default that of
                the file, where names may lead out of it. Give it for a file of somebody else.
            admit: A function that gets the number of jobs, and the pictures that the file names, before any of them is
                read. It raises if these are too many, or too large.

        Raises:
            NetLensError: The file has a mistake; or `model` or `weights` is given, but the file has a network for all
                settings.
        """
        return cls(read_jobs(Path(path), model, weights, root, admit), Path(path))

    @property
    def files(self) -> list[Path]:
        """All pictures that the batch reads, and the file itself."""
        files = [file for job in self.jobs for file in job.files]
        return list(dict.fromkeys(files if self.source is None else [*files, self.source]))

    @property
    def networks(self) -> list[tuple[str, str]]:
        """The names and weights of all networks that the batch needs."""
        return list(dict.fromkeys((job.model, job.weights) for job in self.jobs))

    def run(self, out: str | Path, opener: Opener, progress: bool = True) -> Iterator[Outcome]:
        """Make each missing picture, and yield the outcome of each job when it is finished.

        A picture exists if its config.json, which is written last, names the same files and options. If a job fails,
        the other jobs run nevertheless.

        Args:
            out: The folder of the results.
            opener: A function that opens a network, such as `netlens.zoo.open_network`. Random weights depend on the
                seed of the job.
            progress: Whether a terminal shows the progress.

        Raises:
            NetLensError: Before the first job: the folder cannot be written to, or a result would overwrite a file that
                the batch reads or that no batch has made.
        """
        out = Path(out)
        _make_folder(out)
        if not os.access(out, os.W_OK | os.X_OK):
            raise NetLensError(f"cannot write to {out}; check its permissions, or choose another output.")
        inputs = set(map(os.path.realpath, self.files))
        folders = [out / job.pair / job.settings for job in self.jobs]
        for written in [out / SHEET, *(folder / name for folder in folders for name in (RESULT, CONFIG))]:
            if os.path.realpath(written) in inputs:
                raise ImageError(f"{written} is an input and would be overwritten; choose another output.")
        foreign = [folder / CONFIG for folder in folders if _is_foreign(folder / CONFIG)]
        if (out / SHEET).exists() and next(out.glob(f"*/*/{RESULT}"), None) is None:
            foreign.append(out / SHEET)
        if foreign:
            raise NetLensError(f"{foreign[0]} exists already and was not made by a batch; choose another output.")
        return self._outcomes(out, opener, progress)

    def _outcomes(self, out: Path, opener: Opener, progress: bool) -> Iterator[Outcome]:
        network = Network(opener)
        for job in self.jobs:
            folder = out / job.pair / job.settings
            try:
                request = job.request
                losses = _finished_losses(folder, request)
                if losses is None:
                    outcome = _make_picture(job, folder, request, network.of(job), progress)
                else:
                    outcome = Outcome(job, folder, "skipped", losses)
            except NetLensError as error:
                outcome = Outcome(job, folder, "failed", why=str(error))
            except Exception as error:  # for example, memory or disk is full; the next job may be smaller
                outcome = Outcome(job, folder, "failed", why=" ".join(f"{type(error).__name__}: {error}".split()))
            yield outcome


def _make_picture(job: Job, folder: Path, request: dict[str, Any], flat: FlatModel, progress: bool) -> Outcome:
    _make_folder(folder)
    regions = None if not any(map(any, job.masks)) else list(job.masks)
    render = job.transfer(flat, job.content, list(job.styles), regions, progress=progress)
    # without its config, a result counts as missing
    (folder / CONFIG).unlink(missing_ok=True)
    images.save(render.images[0], folder / RESULT)
    made_by = render.provenance
    losses = made_by.options["losses"]
    config = {
        "asked": request,
        "seeds": list(render.seeds),
        "losses": losses,
        "steps": len(render.history),
        "layers": {kind: made_by.options[f"{kind}_layers"] for kind in ("content", "style")},
        "versions": dict(made_by.versions),
    }
    write(folder / CONFIG, json.dumps(config, indent=2).encode())
    return Outcome(job, folder, "made", losses)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NetLensError(f"cannot make the folder {folder}: {error.strerror}; choose another output.") from error


def _is_foreign(config: Path) -> bool:
    """Whether a config was not written by a batch. A damaged file counts as written by a batch."""
    try:
        stored = json.loads(config.read_text())
    except IsADirectoryError:
        return True
    except (OSError, ValueError, RecursionError):
        return False
    return not isinstance(stored, dict) or "asked" not in stored


def _finished_losses(folder: Path, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The losses of a finished job. None if its picture is missing."""
    config, result = folder / CONFIG, folder / RESULT
    if not config.is_file() or not result.is_file():
        return None
    damaged = config
    try:
        stored = json.loads(config.read_text())
        losses: Mapping[str, Any] = stored["losses"]
        if stored["asked"] != request:
            return None
        damaged = result
        images.load(result)
        return losses
    except (OSError, ValueError, TypeError, KeyError, RecursionError, ImageError):
        warnings.warn(f"{damaged} is damaged; its picture is made again.", NetLensWarning, stacklevel=3)
        return None

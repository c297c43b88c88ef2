"""Many style transfers from one file: pairs of pictures times settings, each done once, however often it is begun."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netlens import images
from netlens.errors import ImageError, NetLensError, NetLensWarning
from netlens.flat import FlatModel
from netlens.results.storage import write
from netlens.visualization.style.jobs import SHEET, Job, read_jobs
from netlens.visualization.style.network import Network, Opener

CONFIG, RESULT = "config.json", "result.jpg"


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
    `StyleTransfer` by name. `model` and `weights` stand at the top, or in settings of their own: settings with a model
    have nothing of the network at the top. Files are relative to that of the batch.
    """

    jobs: tuple[Job, ...]
    source: Path | None = None

    @classmethod
    def read(cls, path: str | Path, model: str | None = None, weights: str | None = None) -> Batch:
        """Read and check a file, so that nothing is found wrong after hours.

        model, weights: the network ("shapes" by default) of the settings for which the file names none; given for
        nothing, where it names one for all, they are refused.
        """
        return cls(read_jobs(Path(path), model, weights), Path(path))

    @property
    def files(self) -> list[Path]:
        """All pictures that are read, and the file that names them."""
        several = [file for job in self.jobs for file in job.files]
        return list(dict.fromkeys(several if self.source is None else [*several, self.source]))

    @property
    def networks(self) -> list[tuple[str, str | None]]:
        """The names and weights of all networks that are needed."""
        return list(dict.fromkeys((job.model, job.weights) for job in self.jobs))

    def run(self, out: str | Path, opener: Opener, progress: bool = True) -> Iterator[Outcome]:
        """Make each missing picture, and yield the outcome of each job when it is done.

        opener: how networks are opened, such as `netlens.zoo.open_network`; random weights are those of the job's seed.
        A picture counts as done when its config.json, written last, says that just this was asked. A job that fails, in
        whatever way, does not keep the others from being done; an output that cannot be written to, or where files that
        are read, or that no batch made, would be overwritten, raises before the first.
        """
        out = Path(out)
        _make(out)
        if not os.access(out, os.W_OK | os.X_OK):
            raise NetLensError(f"{out} cannot be written to; check its permissions, or choose another output.")
        read = set(map(os.path.realpath, self.files))
        folders = [out / job.pair / job.settings for job in self.jobs]
        for written in [out / SHEET, *(folder / name for folder in folders for name in (RESULT, CONFIG))]:
            if os.path.realpath(written) in read:
                raise ImageError(f"{written} is to be read and would be overwritten; choose another output.")
        foreign = [folder / CONFIG for folder in folders if _is_foreign(folder / CONFIG)]
        if (out / SHEET).exists() and next(out.glob(f"*/*/{RESULT}"), None) is None:
            foreign.append(out / SHEET)
        if foreign:
            raise NetLensError(f"{foreign[0]} is there already and was not made by a batch; choose another output.")
        return self._outcomes(out, opener, progress)

    def _outcomes(self, out: Path, opener: Opener, progress: bool) -> Iterator[Outcome]:
        network = Network(opener)
        for job in self.jobs:
            folder = out / job.pair / job.settings
            try:
                asked = job.asked
                losses = _done(folder, asked)
                if losses is None:
                    outcome = _made(job, folder, asked, network.of(job), progress)
                else:
                    outcome = Outcome(job, folder, "skipped", losses)
            except NetLensError as error:
                outcome = Outcome(job, folder, "failed", why=str(error))
            except Exception as error:  # memory that ran out, a full disk: the next job may be a smaller one
                outcome = Outcome(job, folder, "failed", why=" ".join(f"{type(error).__name__}: {error}".split()))
            yield outcome


def _made(job: Job, folder: Path, asked: dict[str, Any], flat: FlatModel, progress: bool) -> Outcome:
    _make(folder)
    regions = None if not any(map(any, job.masks)) else list(job.masks)
    render = job.transfer(flat, job.content, list(job.styles), regions, progress=progress)
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


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NetLensError(f"{folder} cannot be made a folder: {error.strerror}; choose another output.") from error


def _is_foreign(config: Path) -> bool:
    """Whether a config was not written by a batch; a damaged file may have been."""
    try:
        known = json.loads(config.read_text())
    except IsADirectoryError:
        return True
    except (OSError, ValueError, RecursionError):
        return False
    return not isinstance(known, dict) or "asked" not in known


def _done(folder: Path, asked: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The losses of a finished job; None if the job is not done."""
    config, result = folder / CONFIG, folder / RESULT
    if not config.is_file() or not result.is_file():
        return None
    damaged = config
    try:
        read = json.loads(config.read_text())
        losses: Mapping[str, Any] = read["losses"]
        if read["asked"] != asked:
            return None
        damaged = result
        images.load(result)
        return losses
    except (OSError, ValueError, TypeError, KeyError, RecursionError, ImageError):
        warnings.warn(f"{damaged} is damaged; its picture is made again.", NetLensWarning, stacklevel=3)
        return None

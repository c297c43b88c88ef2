"""A survey: several questions about a network and a data set, answered in one pass that can be interrupted."""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from netlens.errors import ImageError, NetLensError, NetLensWarning, NonFiniteError
from netlens.fast import fast
from netlens.flat import FlatModel
from netlens.flat.intake import channels_of, weight_of
from netlens.flat.receptive import receptive_fields
from netlens.flat.running import tapped_visit
from netlens.options import check, option
from netlens.preprocessing import Preprocessing, as_batch
from netlens.survey._data import data_from
from netlens.survey._engine import Engine
from netlens.survey._engines import ENGINES, engine_of
from netlens.survey._job import BATCH, Job
from netlens.survey._parts import Place, Unreadable
from netlens.survey._pictures import Pictures
from netlens.survey._question import Question, State
from netlens.survey._result import SurveyResult
from netlens.survey._samples import Data
from netlens.survey.fingerprint import fingerprint
from netlens.survey.settings import Settings

_FORMAT = 1
"""Another number where a part of an earlier version would hold something else."""


@dataclass(frozen=True, eq=False)
class Survey:
    """Several questions about a network and a data set.

    The samples are cut into shards. What the questions find in one is a part, a file that depends on the network, the
    preprocessing, the questions and the samples alone. A part that is there is not made again. So an interrupted
    survey goes on where it stopped, and its result has the same bits, whatever the number of workers.

    Args:
        flat: The network.
        data: A folder of pictures with a folder for each class; a CSV file with the columns `image` and `label`; a list
            of files, or of (file, label); tars of WebDataset or Parquet files of Hugging Face, as a path, a pattern
            such as `shards/*.tar`, or a list; or a data set of torch or of Hugging Face, whose items are images,
            (image, label), or dicts with the entries `image` and `label`.
        questions: What to find out: `TopK`, `RandomSample`, `ChannelStatistics`, `Predictions`, or your own.
        parts: The folder of the parts, which is made; None for one that is deleted at the end.
        shard: The number of samples of a part, at least 1. Up to 32 of them run together.
        workers: The number of processes, each with one thread; 0 for this process, also with one thread. For Ray, the
            number of actors; 0 for all that the cluster holds.
        engine: Where parts are made. "process": here, or in several processes on this machine. "ray": in actors of Ray,
            on the cluster that is initialized or that RAY_ADDRESS names, or else on this machine. "torchrun": in the
            processes that torchrun has started, each of which gets the result.
        preprocessing: How a picture becomes an input; None for that of the network.
        progress: Whether a terminal shows a progress bar.

    Example:
        >>> from netlens import open_network
        >>> from netlens.survey import TopK
        >>> from netlens.world.scene import scene
        >>> data = [(scene(i, 64).image, 0) for i in range(3)]
        >>> survey = Survey(open_network(), data, [TopK("stem", k=2)], progress=False).run()
        >>> len(survey.top("stem", 5))
        2
    """

    flat: FlatModel = option(help="The network.")
    data: Any = option(help="A folder, a CSV file, a list of files, tars, Parquet files, or a data set.")
    questions: Sequence[Question] = option(help="What to find out.")
    parts: str | Path | None = option(None, help="The folder of the parts; none for one that is deleted.")
    shard: int = option(64, least=1, help="The number of samples of a part.")
    workers: int = option(0, least=0, help="The number of processes; 0 for this process alone.")
    engine: str = option("process", choices=ENGINES, help="Where parts are made: here, by Ray, or by torchrun.")
    preprocessing: Preprocessing | None = option(None, help="How a picture becomes an input; none for the usual one.")
    progress: bool = option(True, help="Whether a terminal shows the progress.")

    def __post_init__(self) -> None:
        check(self)
        if not self.questions or not all(isinstance(question, Question) for question in self.questions):
            raise NetLensError("a survey needs a list of questions, such as TopK(layer) or Predictions().")

    def run(self) -> SurveyResult:
        """Make the parts that are missing, and join all.

        Raises:
            NetLensError: The data has no samples, a label is no class, the network cannot run on the samples, or a
                process ended before its work. Parts that are finished are kept.
            NonFiniteError: A layer that a question reads holds NaN or Inf; the message names the sample.
        """
        with engine_of(self.engine, self.workers) as engine, ExitStack() as stack:
            folder = self.parts
            if folder is None:
                if self.engine == "torchrun":
                    raise NetLensError("engine='torchrun' needs parts=, a folder that all processes see.")
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="netlens-survey-"))
            return self._run(Path(folder), engine)

    def _run(self, folder: Path, engine: Engine) -> SurveyResult:
        data = data_from(self.data, self.flat.classes)
        job = self._job(data)
        name = self._fingerprint(job)
        places = [
            Place(folder, shard, fingerprint((name, shard, data.identity(start, min(start + self.shard, len(data))))))
            for shard, start in enumerate(range(0, len(data), self.shard))
        ]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NetLensError(f"{folder} is no folder for parts ({error.strerror}); choose another one.") from error
        self._make(job, engine.share(places), engine)
        engine.meet()
        states: list[State] = [question.zero() for question in job.questions]
        unreadable: list[Unreadable] = []
        for place in places:  # sums are added in this order, whoever made the parts
            part = place.read(len(states))
            states = [q.merge(a, b) for q, a, b in zip(job.questions, states, part.states, strict=True)]
            unreadable += part.unreadable
        return self._result(job, states, unreadable, name)

    def _job(self, data: Data) -> Job:
        if tapped_visit(self.flat) is not None:
            raise NetLensError("a survey runs the network as it is; leave the block of hooks first.")
        self.flat.follow()
        channels = channels_of(self.flat)
        preprocessing = self.preprocessing
        if preprocessing is None:
            preprocessing = self.flat.adapter.preprocessing.for_channels(channels)
        if preprocessing.doubt:
            warnings.warn(preprocessing.doubt, NetLensWarning, stacklevel=4)
            preprocessing = replace(preprocessing, doubt="")
        channels = len(preprocessing.mean) if channels is None else channels
        flat = self._fitting(data, preprocessing, channels) if self.flat.assumptions else self.flat
        keys = tuple(flat.keys_of([layer for question in self.questions for layer in question.layers]))
        # a copy: weights lie in memory as in a worker, and nothing that the user does meanwhile changes it
        questions = tuple(self.questions)
        runs = any(question.runs for question in questions)
        network, whole = copy.deepcopy((fast(flat, keys), flat if runs else None))
        device = weight_of(flat, torch.empty(0)).device
        if self.workers and self.engine == "process" and device.type != "cpu":
            raise NetLensError(f"several processes would share {device}; give workers=0, or a network on the CPU.")
        settings = Settings.now(device)
        return Job(network, preprocessing, channels, questions, keys, data, self.shard, settings, whole)

    def _fitting(self, data: Data, preprocessing: Preprocessing, channels: int) -> FlatModel:
        """The flat model for inputs of the shape of the first sample that can be read."""
        for index in range(len(data)):
            try:
                x = as_batch(data.load(index).image, preprocessing, channels)
            except (ImageError, NonFiniteError):
                continue
            return self.flat.fitting(x.to(weight_of(self.flat, x)))
        return self.flat

    def _fingerprint(self, job: Job) -> str:
        """That of all parts: of everything except samples in files."""
        if self.parts is None:  # nobody else will read the parts
            return ""
        program = job.network.program  # what runs, with folded weights
        return fingerprint(
            {
                "format": (_FORMAT, BATCH, self.shard),
                "network": (program.steps, program.inputs, program.outputs, job.network.adapter),
                "whole": None if job.whole is None else job.whole.program.steps,
                "preprocessing": (job.preprocessing, job.channels),
                "questions": job.questions,
                "keys": job.keys,
                "data": job.data.content,
                "settings": job.settings,
            }
        )

    def _make(self, job: Job, places: Sequence[Place], engine: Engine) -> None:
        def size(place: Place) -> int:
            return min(self.shard, len(job.data) - place.shard * self.shard)

        missing = [place for place in places if not place.path.exists()]
        total, left = sum(map(size, places)), sum(map(size, missing))
        silent = None if self.progress and engine.shows else True
        with tqdm(total=total, initial=total - left, unit="image", delay=1, disable=silent, leave=False) as bar:
            engine.make(job, missing, lambda place: bar.update(size(place)) and None)

    def _result(self, job: Job, states: list[State], unreadable: list[Unreadable], name: str) -> SurveyResult:
        fields = receptive_fields(job.network.program)
        layers = {layer: job.network.key(layer) for q in job.questions for layer in q.layers if layer != "output"}
        return SurveyResult(
            questions=job.questions,
            states=tuple(states),
            names=tuple(map(job.data.name, range(len(job.data)))),
            unreadable=tuple(unreadable),
            classes=None if self.flat.classes is None else tuple(self.flat.classes),
            layers=layers,
            fields={key: fields.get(key) for key in layers.values()},
            network=self.flat.name,
            fingerprint=name,
            preprocessing=job.preprocessing,
            pictures=Pictures(job.data, job.preprocessing),
        )

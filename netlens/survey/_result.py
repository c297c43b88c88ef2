"""The result of a survey: the answers to its questions, as files without pickle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from netlens.errors import NetLensError, closest
from netlens.flat.receptive import Field
from netlens.heatmaps import ResultError
from netlens.preprocessing import Preprocessing
from netlens.results import storage
from netlens.survey._channels import ChannelStatistics, Statistics
from netlens.survey._parts import Unreadable, flattened, unflattened
from netlens.survey._peaks import ChannelPeaks, Peaks, RandomSample, TopK
from netlens.survey._pictures import Pictures, pictures_from
from netlens.survey._predictions import Losses, Predicted, Predictions
from netlens.survey._question import Question, State
from netlens.survey._tables import Columns, joined, write_tables
from netlens.version import __version__

if TYPE_CHECKING:
    from netlens.show import Picture

_KINDS: tuple[type[Question], ...] = (TopK, RandomSample, ChannelStatistics, Predictions)
_NAMES = "names"

Q = TypeVar("Q", bound=Question)


@dataclass(frozen=True, eq=False)
class SurveyResult:
    """The answers to the questions of a survey.

    Attributes:
        questions: The questions.
        states: What each of them has found in all samples.
        names: The name of each sample: its file within the folder of the data, or "#" and its number.
        unreadable: The samples that were left out, each with the reason.
        classes: The names of the classes; None if they have none.
        layers: The key of each layer that was asked about, by the name in the question.
        fields: The receptive field of each of these layers, by key; None where it is not known.
        network: The name of the network.
        fingerprint: What the parts were made from; empty if they were not kept.
        preprocessing: How pictures became inputs; None in files of earlier versions.
        pictures: The pictures; None after `load`, until `with_pictures` says where they are. No file holds them.
    """

    questions: tuple[Question, ...]
    states: tuple[State, ...] = dataclasses.field(repr=False)
    names: tuple[str, ...] = dataclasses.field(repr=False)
    unreadable: tuple[Unreadable, ...] = ()
    classes: tuple[str, ...] | None = dataclasses.field(default=None, repr=False)
    layers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    fields: Mapping[str, Field | None] = dataclasses.field(default_factory=dict, repr=False)
    network: str = ""
    fingerprint: str = ""
    preprocessing: Preprocessing | None = dataclasses.field(default=None, repr=False)
    pictures: Pictures | None = dataclasses.field(default=None, repr=False)

    def __len__(self) -> int:
        """The number of samples, also of those that cannot be read."""
        return len(self.names)

    @cached_property
    def answers(self) -> tuple[Any, ...]:
        """The answer to each question, in their order."""
        return tuple(q.finish(state) for q, state in zip(self.questions, self.states, strict=True))

    def answer(self, question: Question) -> Any:
        """The answer to a question of the survey, which may be one of your own."""
        if question not in self.questions:
            raise NetLensError(f"the survey did not ask {question}; it asked {', '.join(map(str, self.questions))}.")
        return self.answers[self.questions.index(question)]

    def top(self, layer: str, channel: int) -> ChannelPeaks:
        """The samples in which a channel is strongest, strongest first, with the place that fired."""
        return self._peaks(TopK, layer, channel)

    def random(self, layer: str, channel: int) -> ChannelPeaks:
        """Random samples for a channel, with the place where it is strongest."""
        return self._peaks(RandomSample, layer, channel)

    def statistics(self, layer: str) -> Statistics:
        """The statistics of the channels of a layer."""
        question: ChannelStatistics = self._question(ChannelStatistics, layer)
        statistics: Statistics = self.answer(question)
        return dataclasses.replace(statistics, layer=question.layer)

    def layers_of(self, kind: type[Question]) -> tuple[str, ...]:
        """The layers that questions of this class asked about, by the names in the questions."""
        layers = (question.layers[0] for question in self.questions if isinstance(question, kind))
        return tuple(dict.fromkeys(layers))

    def channels_of(self, kind: type[TopK] | type[RandomSample], layer: str) -> int:
        """The number of channels of a layer, as a question of this class has found them."""
        question: Question = self._question(kind, layer)
        peaks: Peaks = self.answer(question)
        return len(peaks.values)

    @property
    def predictions(self) -> Predicted:
        """What the network says about each sample."""
        question = next((q for q in self.questions if isinstance(q, Predictions)), None)
        if question is None:
            raise NetLensError("the survey did not ask for predictions; add Predictions() to its questions.")
        predicted: Predicted = self.answer(question)
        return dataclasses.replace(predicted, names=self.names, class_names=self.classes)

    @property
    def has_predictions(self) -> bool:
        """Whether the survey asked for predictions."""
        return any(isinstance(question, Predictions) for question in self.questions)

    @property
    def confusion(self) -> Tensor:
        """(classes, classes): the number of samples of each label (row) and predicted class (column)."""
        return self.predictions.confusion

    @property
    def losses(self) -> Losses:
        """The losses of all samples with a label."""
        return self.predictions.with_losses(self.names, self.pictures)

    def with_pictures(self, data: Any) -> SurveyResult:
        """This result, with its pictures, so that what it gives can draw itself.

        Args:
            data: The folder, the CSV file, the list of files or the data set of the survey, wherever it is now.

        Raises:
            NetLensError: The data is not that of the survey.
        """
        return dataclasses.replace(self, pictures=pictures_from(data, self.names, self.preprocessing))

    def show(self) -> Picture:
        """Draw the survey: which classes are confused, how often a confidence is right, the activations of each layer.

        Raises:
            NetLensError: The survey asked for nothing of this, or no sample has a label.
        """
        from netlens.show import Tile, arranged, histogram_chart  # matplotlib loads only when something is drawn

        tiles = self.predictions.tiles() if self.has_predictions and self.predictions.labeled.any() else []
        for layer in self.layers_of(ChannelStatistics):
            statistics = self.statistics(layer)
            subtitle = f"{len(statistics.count)} channels, {float(statistics.zeros.mean()):.0%} zeros"
            tiles.append(Tile(histogram_chart(*statistics.occupied()), layer, subtitle))
        if not tiles:
            raise NetLensError("a survey draws predictions of samples with labels, and statistics; it has neither.")
        return arranged([tiles[start : start + 3] for start in range(0, len(tiles), 3)])

    def _repr_jpeg_(self) -> Any:
        try:
            return self.show()._repr_jpeg_()
        except NetLensError:  # a notebook then shows the one-line repr
            return None

    def export(self, folder: str | Path) -> tuple[Path, ...]:
        """Write tables for other programs: samples.parquet, channels.parquet and peaks.parquet, as far as was asked.

        Each file is written whole or not at all. See docs/survey.md for the columns.

        Args:
            folder: The folder, which is made.

        Raises:
            NetLensError: PyArrow is not installed.
            ResultError: A file cannot be written.
        """
        tables: dict[str, Columns] = {}
        if self.has_predictions:
            tables["samples"] = self.predictions.columns()
        if layers := self.layers_of(ChannelStatistics):
            tables["channels"] = joined(self.statistics(layer).columns() for layer in layers)
        peaks = [
            {"kind": [kind] * len(channel_peaks), **channel_peaks.columns()}
            for kind, question, ask in (("top", TopK, self.top), ("random", RandomSample, self.random))
            for layer in self.layers_of(question)
            for channel_peaks in (ask(layer, channel) for channel in range(self.channels_of(question, layer)))
        ]
        if peaks:
            tables["peaks"] = joined(peaks)
        return write_tables(Path(folder), tables)

    def save(self, path: str | Path) -> Path:
        """Write everything to a file that ends in .safetensors.

        Raises:
            ResultError: The path has another suffix, the file cannot be written, or an option of a question of your own
                is no number, text, list or None.
        """
        if Path(path).suffix != ".safetensors":
            raise ResultError(f"{path} must end in .safetensors.")
        header = {
            "survey": 1,
            "netlens": __version__,
            "questions": [[type(question).__name__, _options(question)] for question in self.questions],
            "unreadable": [[one.sample, one.name, one.reason] for one in self.unreadable],
            "classes": self.classes,
            "layers": dict(self.layers),
            "fields": {
                key: None if field is None else dataclasses.astuple(field) for key, field in self.fields.items()
            },
            "network": self.network,
            "fingerprint": self.fingerprint,
            "preprocessing": None if self.preprocessing is None else dataclasses.asdict(self.preprocessing),
        }
        # the header of such a file may have 100 MB, which the names of some million files exceed
        names = torch.frombuffer(bytearray(json.dumps(self.names).encode()), dtype=torch.uint8)
        tensors = {_NAMES: names, **flattened(self.states)}
        return storage.write(path, storage.pack(".safetensors", tensors, header))

    @classmethod
    def load(cls, path: str | Path, kinds: Sequence[type[Question]] = ()) -> SurveyResult:
        """Read a file that `save` wrote.

        Args:
            path: The file.
            kinds: The classes of questions of your own that the survey asked.

        Raises:
            ResultError: The file is damaged or holds no survey, or the class of a question is not known.
        """
        tensors, header = storage.unpack(path)
        with storage.readable(path):
            names = tuple(json.loads(bytes(tensors.pop(_NAMES).numpy())))
            questions = tuple(_question(name, options, (*_KINDS, *kinds)) for name, options in header["questions"])
            return cls(
                questions=questions,
                states=unflattened(tensors, len(questions)),
                names=names,
                unreadable=tuple(Unreadable(*row) for row in header["unreadable"]),
                classes=None if header["classes"] is None else tuple(header["classes"]),
                layers=header["layers"],
                fields={key: None if row is None else _field(row) for key, row in header["fields"].items()},
                network=header["network"],
                fingerprint=header["fingerprint"],
                preprocessing=_preprocessing(header.get("preprocessing")),
            )

    def _peaks(self, kind: type[TopK] | type[RandomSample], layer: str, channel: int) -> ChannelPeaks:
        question: Question = self._question(kind, layer)
        answer: Peaks = self.answer(question)
        peaks = answer.of(channel, self.names, self.fields.get(self._key(question.layers[0])))
        return ChannelPeaks(peaks, self.pictures, question.layers[0], channel)

    def _question(self, kind: type[Q], layer: str) -> Q:
        """The question of this kind about a layer: by the name in the question, the key, or a path to one of them."""
        questions = [question for question in self.questions if isinstance(question, kind)]
        match = next((q for q in questions if self._key(q.layers[0]) == self._key(layer)), None)
        within = [q for q in questions if self._key(q.layers[0]).startswith(f"{layer}.")]
        match = within[0] if match is None and len(within) == 1 else match
        if match is None:
            names = [question.layers[0] for question in questions]
            hint = f" of layers {closest(layer, names)}" if names else ""
            asks = "asked it" + hint if names else "did not ask it"
            raise NetLensError(f"the survey has no {kind.__name__} of layer {layer!r}; it {asks}.")
        return match

    def _key(self, layer: str) -> str:
        return self.layers.get(layer, layer)


def _options(question: Question) -> dict[str, Any]:
    options: dict[str, Any] = dataclasses.asdict(question) if dataclasses.is_dataclass(question) else {}
    try:
        json.dumps(options)
    except (TypeError, ValueError) as error:
        raise ResultError(f"{question} cannot be saved ({error}); its options must be plain values.") from error
    return options


def _question(name: str, options: Mapping[str, Any], kinds: Sequence[type[Question]]) -> Question:
    kind = next((kind for kind in kinds if kind.__name__ == name), None)
    if kind is None:
        raise ResultError(f"the survey asked a question of the class {name}; give SurveyResult.load(path, [{name}]).")
    return kind(**options)


def _preprocessing(options: Mapping[str, Any] | None) -> Preprocessing | None:
    return None if options is None else Preprocessing(**options)


def _field(row: Sequence[Any]) -> Field:
    size, *others = row
    return Field(None if size is None else tuple(size), *(tuple(pair) for pair in others))

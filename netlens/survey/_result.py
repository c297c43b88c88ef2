"""The result of a survey: the answers to its questions, as files without pickle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from netlens.errors import NetLensError, closest
from netlens.flat.receptive import Field
from netlens.heatmaps import ResultError
from netlens.results import storage
from netlens.survey._channels import ChannelStatistics, Statistics
from netlens.survey._parts import Unreadable, flattened, unflattened
from netlens.survey._peaks import Peak, Peaks, RandomSample, TopK
from netlens.survey._predictions import Losses, Predicted, Predictions
from netlens.survey._question import Question, State
from netlens.version import __version__

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

    def top(self, layer: str, channel: int) -> tuple[Peak, ...]:
        """The samples in which a channel is strongest, strongest first, with the place that fired."""
        return self._peaks(TopK, layer, channel)

    def random(self, layer: str, channel: int) -> tuple[Peak, ...]:
        """Random samples for a channel, with the place where it is strongest."""
        return self._peaks(RandomSample, layer, channel)

    def statistics(self, layer: str) -> Statistics:
        """The statistics of the channels of a layer."""
        question: ChannelStatistics = self._question(ChannelStatistics, layer)
        found: Statistics = self.answer(question)
        return found

    @property
    def predictions(self) -> Predicted:
        """What the network says about each sample."""
        question = next((q for q in self.questions if isinstance(q, Predictions)), None)
        if question is None:
            raise NetLensError("the survey did not ask for predictions; add Predictions() to its questions.")
        found: Predicted = self.answer(question)
        return found

    @property
    def confusion(self) -> Tensor:
        """(classes, classes): the number of samples of each label (row) and predicted class (column)."""
        return self.predictions.confusion

    @property
    def losses(self) -> Losses:
        """The losses of all samples with a label."""
        return self.predictions.with_losses(self.names)

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
            )

    def _peaks(self, kind: type[TopK] | type[RandomSample], layer: str, channel: int) -> tuple[Peak, ...]:
        question: Question = self._question(kind, layer)
        found: Peaks = self.answer(question)
        return found.of(channel, self.names, self.fields.get(self._key(layer)))

    def _question(self, kind: type[Q], layer: str) -> Q:
        """The question of this kind about a layer, by the name in the question or by the key."""
        asked = [question for question in self.questions if isinstance(question, kind)]
        found = next((q for q in asked if self._key(q.layers[0]) == self._key(layer)), None)
        if found is None:
            names = [question.layers[0] for question in asked]
            known = f" of layers {closest(layer, names)}" if names else ""
            asks = "asked it" + known if names else "did not ask it"
            raise NetLensError(f"the survey has no {kind.__name__} of layer {layer!r}; it {asks}.")
        return found

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


def _field(row: Sequence[Any]) -> Field:
    size, *others = row
    return Field(None if size is None else tuple(size), *(tuple(pair) for pair in others))

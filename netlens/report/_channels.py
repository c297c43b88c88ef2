"""Channels: for some channels of each layer, the pictures that excite them, random pictures, and a drawing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.report._album import SMALL, Album, Shot
from netlens.report._choice import channels_of
from netlens.report._explained import Explained
from netlens.report._svg import histogram
from netlens.survey import ChannelStatistics, Peak, RandomSample, Statistics, SurveyResult, TopK
from netlens.visualization import NetDreamer

_BATCH = 8
PAGE = 24
"""So many channels share a page."""


@dataclass(frozen=True)
class Crop:
    """The part of a picture that one place of a layer sees, and the activation there."""

    name: str
    shot: Shot
    value: float


@dataclass(frozen=True)
class Channel:
    """One channel of a layer."""

    index: int
    drawing: Shot | None
    top: tuple[Crop, ...]
    random: tuple[Crop, ...]
    histogram: Markup | None
    mean: float | None
    most: float | None
    zeros: float | None


@dataclass(frozen=True)
class Layer:
    """A layer: its statistics, and some of its channels.

    Args:
        number: Its number in the report, from 1.
        name: Its name.
        count: The number of its channels.
        field: The side and the stride of its receptive field, as a text.
        mean: The mean of all activations.
        deviation: Their standard deviation.
        least: The lowest of them.
        most: The highest of them.
        zeros: The share of them that is exactly 0.
        dead: The number of channels that are 0 everywhere.
        histogram: Of all activations.
        channels: The channels that are shown.
        why: Why there are no drawings.
    """

    number: int
    name: str
    count: int
    field: str
    mean: float | None = None
    deviation: float | None = None
    least: float | None = None
    most: float | None = None
    zeros: float | None = None
    dead: int | None = None
    histogram: Markup | None = None
    channels: tuple[Channel, ...] = ()
    why: str = ""


def layers_of(survey: SurveyResult) -> tuple[str, ...]:
    """The layers that the survey knows something of, in the order in which it was asked."""
    layers = [layer for kind in (TopK, RandomSample, ChannelStatistics) for layer in survey.layers_of(kind)]
    return tuple(dict.fromkeys(layers))


class Channels:
    """Makes the sections about layers.

    Args:
        survey: The survey.
        flat: The network.
        explained: The pictures.
        most: The number of channels of each layer.
        examples: The number of pictures of each channel.
        steps: The steps of a drawing; 0 for no drawings.
        progress: Called after each batch of drawings, with the number of its channels.
    """

    def __init__(
        self,
        survey: SurveyResult,
        flat: FlatModel,
        explained: Explained,
        most: int,
        examples: int,
        steps: int,
        progress: Callable[[int], object],
    ) -> None:
        self.survey, self.flat, self.explained = survey, flat, explained
        self.most, self.examples, self.steps, self.progress = most, examples, steps, progress

    def chosen(self, layer: str) -> tuple[int, ...]:
        """The channels of a layer that are shown."""
        return channels_of(self.survey, layer, self._count(layer), self.most) if self.most else ()

    def layer(self, number: int, name: str) -> Layer:
        """One layer, with its channels."""
        statistics = self._statistics(name)
        field = self.survey.fields.get(self.survey.layers.get(name, name))
        chosen = self.chosen(name)
        drawings, why = self._drawings(number, name, chosen)
        shown = tuple(self._channel(name, index, drawings.get(index), statistics) for index in chosen)
        count = self._count(name)
        sees = "not known" if field is None else "all" if field.size is None else f"{field.size[0]} × {field.size[1]}"
        if statistics is None:
            return Layer(number, name, count, sees, channels=shown, why=why)
        weights = statistics.count.double() / statistics.count.sum()
        mean = float((weights * statistics.mean).sum())
        square = float((weights * (statistics.variance + statistics.mean.square())).sum())
        return Layer(
            number,
            name,
            count,
            sees,
            mean=mean,
            deviation=max(0.0, square - mean * mean) ** 0.5,
            least=float(statistics.least.min()),
            most=float(statistics.most.max()),
            zeros=float((weights * statistics.zeros).sum()),
            dead=int((statistics.zeros == 1).sum()),
            histogram=histogram(statistics.occupied()),
            channels=shown,
            why=why,
        )

    def _count(self, layer: str) -> int:
        statistics = self._statistics(layer)
        if statistics is not None:
            return len(statistics.count)
        kind = TopK if layer in self.survey.layers_of(TopK) else RandomSample
        return self.survey.channels_of(kind, layer)

    def _statistics(self, layer: str) -> Statistics | None:
        if layer not in self.survey.layers_of(ChannelStatistics):
            return None
        statistics = self.survey.statistics(layer)
        return statistics if len(statistics.count) else None

    def _channel(self, layer: str, index: int, drawing: Shot | None, statistics: Statistics | None) -> Channel:
        top = self.survey.top(layer, index) if layer in self.survey.layers_of(TopK) else ()
        random = self.survey.random(layer, index) if layer in self.survey.layers_of(RandomSample) else ()
        crops = tuple(self._crops(top)), tuple(self._crops(random))
        if statistics is None:
            return Channel(index, drawing, *crops, None, None, None, None)
        numbers = float(statistics.mean[index]), float(statistics.most[index]), float(statistics.zeros[index])
        return Channel(index, drawing, *crops, histogram(statistics.occupied([index])), *numbers)

    def _crops(self, peaks: Sequence[Peak]) -> list[Crop]:
        crops = []
        for peak in list(peaks)[: self.examples]:
            shot = self.explained.crop(peak.sample, peak.box, SMALL)
            if shot is not None:
                crops.append(Crop(peak.name, shot, peak.value))
        return crops

    def _drawings(self, number: int, layer: str, channels: Sequence[int]) -> tuple[dict[int, Shot], str]:
        """The drawings of the channels; or none, and why."""
        album: Album = self.explained.album
        drawings: dict[int, Shot] = {}
        if not self.steps:
            return drawings, ""
        dreamer = NetDreamer(self.flat, steps=self.steps, progress=False)
        for start in range(0, len(channels), _BATCH):
            part = channels[start : start + _BATCH]
            try:
                images = dreamer.channel(layer, list(part)).images
            except NotApplicable as error:
                return {}, str(error)
            except NetLensError as error:
                return {}, f"the channels cannot be drawn: {error}"
            for index, image in zip(part, images, strict=True):
                drawings[index] = album.add(f"layer-{number}-channel-{index}", image)
            self.progress(len(part))
        return drawings, ""

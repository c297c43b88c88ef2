"""Peaks: the samples in which a channel is strongest, or random ones, with the place that fired."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.flat.receptive import Field, crop_of
from netlens.options import check, checked, option
from netlens.survey._pictures import Pictured, Pictures, stem
from netlens.survey._question import Batch, Question, State
from netlens.survey._tables import Columns, frame_of

_ODD = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
"""The constants of SplitMix64, which spreads the bits of a number."""

Ranks = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Peak:
    """The strongest place of one channel in one sample.

    Attributes:
        value: The activation there.
        sample: The number of the sample in the data.
        name: The name of the sample: its file, within the folder of the data.
        place: The row and the column in the map of the layer.
        box: The part of the preprocessed picture that this place depends on, in pixels: (top, bottom, left, right).
    """

    value: float
    sample: int
    name: str
    place: tuple[int, int]
    box: tuple[int, int, int, int]


@dataclass(frozen=True, eq=False, repr=False)
class ChannelPeaks(Pictured[Peak]):
    """The peaks of one channel, which draw themselves as crops of what the place that fired sees.

    Args:
        items: The peaks.
        pictures: The pictures of the survey.
        layer: The layer.
        channel: The channel.
    """

    layer: str = field(default="", repr=False)
    channel: int = field(default=0, repr=False)

    def frame(self) -> Any:
        """A DataFrame of pandas with one row for each peak."""
        return frame_of(self.columns())

    def columns(self) -> Columns:
        """The columns of a table of the peaks."""
        boxes = zip(*(peak.box for peak in self), strict=True) if self.items else ((),) * 4
        return {
            "layer": [self.layer] * len(self),
            "channel": [self.channel] * len(self),
            "rank": [*range(len(self))],
            "sample": [peak.sample for peak in self],
            "name": [peak.name for peak in self],
            "value": [peak.value for peak in self],
            "row": [peak.place[0] for peak in self],
            "column": [peak.place[1] for peak in self],
            **dict(zip(("top", "bottom", "left", "right"), map(list, boxes), strict=True)),
        }

    def _line(self, item: Peak) -> str:
        return f"{item.value:9.4g}  {item.name} at {item.place}"

    def _drawing(self, item: Peak, pictures: Pictures) -> tuple[Tensor, str, str]:
        top, bottom, left, right = item.box
        return pictures.image(item.sample)[:, top:bottom, left:right], stem(item.name), f"{item.value:.3g}"


@dataclass(frozen=True)
class Peaks:
    """Some samples of each channel of a layer.

    Attributes:
        values: (C, k): the activations.
        samples: (C, k): the numbers of the samples.
        places: (C, k, 2): row and column of the map.
        maps: (C, k, 2): height and width of the map.
        sizes: (C, k, 2): height and width of the input.
    """

    values: Tensor
    samples: Tensor
    places: Tensor
    maps: Tensor
    sizes: Tensor

    def of(self, channel: int, names: Sequence[str], field: Field | None) -> tuple[Peak, ...]:
        """The peaks of one channel, with the names of their samples and the receptive field of the layer."""
        channel = checked("a channel", channel, int, least=0)
        if channel >= len(self.values):
            raise NetLensError(f"there is no channel {channel}; the channels are 0 to {len(self.values) - 1}.")
        rows = [part[channel].tolist() for part in (self.values, self.samples, self.places, self.maps, self.sizes)]
        return tuple(
            Peak(value, sample, names[sample], (place[0], place[1]), crop_of(field, place, places, size))
            for value, sample, place, places, size in zip(*rows, strict=True)
        )


class _OfChannels(Question):
    """Abstract: k samples of each channel, in a total order. A sample has one place: the first of the highest ones."""

    layer: str
    k: int

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    @abstractmethod
    def _ranks(self, values: Tensor, samples: Tensor) -> Ranks:
        """(C, n): the ranks of the values and samples (C, n). The lowest comes first; no two in a row are equal."""

    def update(self, state: State, batch: Batch) -> State:
        height, width = batch.maps(self.layer).shape[2:]
        values, places = batch.highest(self.layer)
        n, channels = values.shape
        shape = (channels, n, 2)
        batch_state = {
            "values": values.T,
            "samples": batch.samples.expand(channels, n),
            "places": torch.stack([places // width, places % width], -1).transpose(0, 1).int(),
            "maps": torch.tensor([height, width], dtype=torch.int32).expand(shape),
            "sizes": torch.tensor(batch.size, dtype=torch.int32).expand(shape),
        }
        return self.merge(state, batch_state)

    def merge(self, a: State, b: State) -> State:
        both = {name: torch.cat([a[name], b[name]], 1) for name in b} if a and b else dict(a or b)
        if not both:
            return both
        ranks = self._ranks(both["values"], both["samples"])
        # numpy sorts many short rows ten times as fast as torch; no two ranks are equal, so any sort gives the same
        order = torch.from_numpy(np.argsort(ranks, axis=1)[:, : self.k])
        return {name: _in_order(part, order) for name, part in both.items()}

    def finish(self, state: State) -> Peaks:
        if not state:
            empty = torch.zeros(0, 0)
            return Peaks(empty, empty.long(), *(torch.zeros(0, 0, 2, dtype=torch.int32) for _ in range(3)))
        return Peaks(**dict(state))


@dataclass(frozen=True)
class TopK(_OfChannels):
    """The samples in which each channel of a layer is strongest.

    A sample counts once, with its highest activation. Samples are sorted by (activation, sample), and of equal
    activations in one sample the first place counts, row by row. So ties have one order, whatever computes them.
    """

    layer: str = option(help="The layer, by any name.")
    k: int = option(16, least=1, help="The number of samples of each channel.")

    def __post_init__(self) -> None:
        check(self)

    def _ranks(self, values: Tensor, samples: Tensor) -> Ranks:
        numbers = samples.numpy()
        if values.dtype not in (torch.float32, torch.float16, torch.bfloat16) or int(samples.max()) >= 2**32:
            order = np.lexsort((numbers, -values.numpy()), axis=1)
            return np.argsort(order, axis=1)
        # the bits of a float as an integer in the order of the floats; adding 0 makes -0 the same as 0
        bits = (values.float() + 0.0).contiguous().numpy().view(np.int32)
        ascending = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits)
        ranks: Ranks = (~ascending).astype(np.int64) << 32 | numbers
        return ranks


@dataclass(frozen=True)
class RandomSample(_OfChannels):
    """Random samples for each channel of a layer, which show what the channel does where it is not strongest.

    A hash of (seed, channel, sample) orders the samples, so that the choice depends on nothing else.
    """

    layer: str = option(help="The layer, by any name.")
    k: int = option(16, least=1, help="The number of samples of each channel.")
    seed: int = option(0, least=0, most=2**31 - 1, help="Another seed: other samples.")

    def __post_init__(self) -> None:
        check(self)

    def _ranks(self, values: Tensor, samples: Tensor) -> Ranks:
        channels = np.arange(len(samples), dtype=np.uint64)[:, None]
        seeds = _spread(_spread(np.full((1, 1), self.seed, dtype=np.uint64)) + channels)
        hashes = _spread(seeds + samples.numpy().astype(np.uint64))
        return hashes.view(np.int64)  # all 64 bits, so that different samples of a channel have different ranks


def _spread(numbers: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """A permutation of the numbers of 64 bits that looks random; arithmetic is modulo 2**64."""
    odd, first, second = (np.uint64(constant) for constant in _ODD)
    mixed = numbers + odd
    mixed = (mixed ^ (mixed >> np.uint64(30))) * first
    mixed = (mixed ^ (mixed >> np.uint64(27))) * second
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def _in_order(part: Tensor, order: Tensor) -> Tensor:
    """The entries (C, k, ...) of (C, n, ...) in this order (C, k)."""
    index = order.view(*order.shape, *[1] * (part.ndim - 2)).expand(*order.shape, *part.shape[2:])
    return part.gather(1, index)

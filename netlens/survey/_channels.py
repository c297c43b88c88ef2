"""Statistics of each channel of a layer, over all samples and places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.options import check, checked, option
from netlens.results.drawn import Drawn
from netlens.survey._bins import Bins, edges_between
from netlens.survey._question import Batch, Question, State, by_places
from netlens.survey._tables import Columns, frame_of, listed

if TYPE_CHECKING:
    from netlens.show import Picture

_DRAWN = 12  # so many channels are drawn if nobody names them
_CHART = (240, 360)  # the height and width of the histogram of a channel, in pixels


class Histogram(NamedTuple):
    """Numbers of activations in bins of one width.

    Attributes:
        edges: (b + 1,), float64: the edges of the bins.
        counts: (b,): the numbers.
        below: Whether the first bin holds everything below its upper edge.
        above: Whether the last bin holds everything from its lower edge on.
    """

    edges: Tensor
    counts: Tensor
    below: bool
    above: bool


@dataclass(frozen=True, repr=False)
class Statistics(Drawn):
    """Statistics of each channel of a layer.

    Attributes:
        count: (C,): the number of activations.
        mean: (C,), float64.
        variance: (C,), float64: the mean square distance from the mean.
        least: (C,): the lowest activation.
        most: (C,): the highest activation.
        zeros: (C,), float64: the share of activations that are exactly 0.
        edges: (bins + 1,), float64: the edges of the histogram.
        histogram: (C, bins + 2): the number of activations below the first edge, in each bin, and from the last edge
            on. A bin holds its lower edge.
        layer: The layer.
    """

    count: Tensor
    mean: Tensor
    variance: Tensor
    least: Tensor
    most: Tensor
    zeros: Tensor
    edges: Tensor
    histogram: Tensor
    layer: str = field(default="", repr=False)

    def __repr__(self) -> str:
        of = f" of {self.layer}" if self.layer else ""
        return f"Statistics({len(self.count):,} channels{of}, {int(self.count.sum()):,} activations)"

    def columns(self) -> Columns:
        """The columns of a table of all channels."""
        numbers = {"count": self.count, "mean": self.mean, "variance": self.variance, "least": self.least}
        numbers |= {"most": self.most, "zeros": self.zeros}
        names = {"layer": [self.layer] * len(self.count), "channel": [*range(len(self.count))]}
        return {**names, **{name: listed(part) for name, part in numbers.items()}}

    def frame(self) -> Any:
        """A DataFrame of pandas with one row for each channel."""
        return frame_of(self.columns())

    def occupied(self, channels: Sequence[int] | None = None) -> Histogram:
        """The histogram of some channels together, from the first bin with an activation to the last.

        Args:
            channels: The channels; None for all.
        """
        counts = (self.histogram if channels is None else self.histogram[list(channels)]).sum(0)
        width = self.edges[1:2] - self.edges[:1]
        edges = torch.cat([self.edges[:1] - width, self.edges, self.edges[-1:] + width])
        full = counts.nonzero().flatten()
        first, last = (int(full[0]), int(full[-1])) if len(full) else (0, 0)
        return Histogram(edges[first : last + 2], counts[first : last + 1], first == 0, last == len(counts) - 1)

    def show(self, channels: Sequence[int] | None = None) -> Picture:
        """Draw the histograms of some channels.

        Args:
            channels: The channels; None for all of them, or for those with the largest variance if they are many.
        """
        from netlens.show import Tile, arranged, histogram_chart  # matplotlib loads only when something is drawn

        if channels is None:
            channels = sorted(listed(self.variance.argsort(descending=True, stable=True)[:_DRAWN]))
        chosen = checked("channels", channels, Sequence[int], least=0, most=len(self.count) - 1)
        tiles = [
            Tile(
                histogram_chart(*self.occupied([index]), size=_CHART),
                f"{self.layer}:{index}" if self.layer else f"channel {index}",
                f"mean {float(self.mean[index]):.3g}, {float(self.zeros[index]):.0%} zeros",
            )
            for index in chosen
        ]
        if not tiles:
            raise NetLensError("no channel was given, or the survey has seen none.")
        return arranged([tiles[start : start + 4] for start in range(0, len(tiles), 4)])

    def _repr_jpeg_(self) -> Any:
        return super()._repr_jpeg_() if len(self.count) else None


@dataclass(frozen=True)
class ChannelStatistics(Question):
    """Count, mean, variance, extremes, share of zeros and histogram of each channel of a layer.

    Means and squares are computed in float64 for a few samples at a time, and joined in the order of the samples.

    Chan, Golub and LeVeque 1979, http://i.stanford.edu/pub/cstr/reports/cs/tr/79/773/CS-TR-79-773.pdf
    """

    layer: str = option(help="The layer, by any name.")
    bins: int = option(32, least=1, most=4096, help="The number of bins of the histogram, all of the same width.")
    low: float = option(-8.0, help="The lower edge of the first bin.")
    high: float = option(8.0, help="The upper edge of the last bin.")

    def __post_init__(self) -> None:
        check(self)
        if not self.low < self.high:
            raise NetLensError(f"ChannelStatistics: low is {self.low:g}, which is not below high, {self.high:g}.")

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    @property
    def edges(self) -> Tensor:
        """(bins + 1,), float64: the edges of the histogram."""
        return edges_between(self.low, self.high, self.bins)

    def update(self, state: State, batch: Batch) -> State:
        for places in by_places(batch.maps(self.layer)):
            state = self.merge(state, self._of(places.flatten(0, 1)))
        return state

    def _of(self, values: Tensor) -> State:
        """The state of some samples (places, C)."""
        count, channels = values.shape
        least = values.amin(0)
        exact = values.double() if values.dtype != torch.float64 else values.clone()
        mean = exact.mean(0)
        zero = torch.eq(values, 0, out=torch.empty(values.shape))  # a sum of floats is faster, and exact up to 2**24
        return {
            "count": torch.full((channels,), count),
            "mean": mean,
            "squares": exact.sub_(mean).square_().sum(0),
            "least": least,
            "most": values.amax(0),
            "zeros": zero.sum(0, dtype=torch.float32 if count < 2**24 else torch.float64).long(),
            "histogram": Bins.between(self.low, self.high, self.bins, values.dtype).count(values),
        }

    def merge(self, a: State, b: State) -> State:
        if not (a and b):
            return a or b
        count, difference = a["count"] + b["count"], b["mean"] - a["mean"]
        share = b["count"].double() / count
        return {
            "count": count,
            "mean": a["mean"] + difference * share,
            "squares": a["squares"] + b["squares"] + difference.square() * a["count"] * share,
            "least": torch.minimum(a["least"], b["least"]),
            "most": torch.maximum(a["most"], b["most"]),
            **{name: a[name] + b[name] for name in ("zeros", "histogram")},
        }

    def finish(self, state: State) -> Statistics:
        if not state:
            nothing = torch.zeros(0, dtype=torch.float64)
            histogram = torch.zeros(0, self.bins + 2, dtype=torch.int64)
            return Statistics(nothing.long(), nothing, nothing, nothing, nothing, nothing, self.edges, histogram)
        count = state["count"]
        variance, zeros = state["squares"] / count, state["zeros"].double() / count
        extremes = state["least"], state["most"]
        return Statistics(count, state["mean"], variance, *extremes, zeros, self.edges, state["histogram"])

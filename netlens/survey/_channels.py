"""Statistics of each channel of a layer, over all samples and places."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.options import check, option
from netlens.survey._bins import Bins, edges_between
from netlens.survey._question import Batch, Question, State, by_places


@dataclass(frozen=True)
class Statistics:
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
    """

    count: Tensor
    mean: Tensor
    variance: Tensor
    least: Tensor
    most: Tensor
    zeros: Tensor
    edges: Tensor
    histogram: Tensor


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

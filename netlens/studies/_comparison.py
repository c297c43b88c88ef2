"""Comparisons: how two networks differ, layer by layer and picture by picture, and their drawings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.results import Attribution, Provenance
from netlens.studies._stored import Stored

if TYPE_CHECKING:
    from netlens.show import Picture


@dataclass(frozen=True, eq=False)
class LayerPair:
    """One layer of two networks, A and B.

    Attributes:
        layer: The key of the layer in both.
        distance: 1 − linear CKA of the activations of both at random places; 0 if they are equal up to a rotation of
            the channels. It also holds what earlier layers have changed.
        change: What this part of the network changes by itself. B's layers since the listed layer before run on A's
            activations; the change is the root mean square difference to what A has, divided by the standard deviation
            of what A has. 0 if the weights of this part are equal; NaN if A's activations do not fit B.
        means: (2, C), float64: the mean of each channel of A and of B. If they have different numbers of channels, the
            rest is NaN.
        deviations: (2, C), float64: the standard deviations.
        correlation: (C,), float64: that of each channel of A with the same one of B, over all samples and places; NaN
            where one of them is constant. Empty if the shapes differ.
        swapped: The accuracy of A with this part of B in it; NaN without labels, or if it does not fit.
        swapped_same: The share of samples for which this network predicts what A does.
        stitched: The accuracy of A up to this layer, and B behind it.
        stitched_same: The share of samples for which this network predicts what A does.
    """

    layer: str
    distance: float
    change: float
    means: Tensor
    deviations: Tensor
    correlation: Tensor
    swapped: float
    swapped_same: float
    stitched: float
    stitched_same: float

    @property
    def shift(self) -> Tensor:
        """(C,), float64: how far the mean of each channel moves, in standard deviations of A. 0 if it does not."""
        gap = (self.means[1] - self.means[0]).abs()
        return torch.where(gap == 0, gap, gap / self.deviations[0])

    @property
    def decorrelation(self) -> float:
        """1 − the mean correlation of the channels; NaN if the shapes differ."""
        return 1 - float(self.correlation[~self.correlation.isnan()].mean())


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Stored):
    """How a network B differs from a network A, on a data set.

    Attributes:
        a, b: The names of the networks.
        layers: The layers, in the order of the network.
        samples: (n,): the numbers of the samples, ascending.
        labels: (n,): their classes; -1 where there is none.
        predicted: (2, n): what A and B predict.
        confidence: (2, n), float64: the probability of that.
        disagreeing: The names of pictures on which they disagree, first those of which both are sure.
        explained_a: Why A predicts what it does on these pictures; None if there are none.
        explained_b: Why B predicts what it does.
        unreadable: The number of pictures that cannot be read.
    """

    parts: ClassVar[tuple[type, ...]] = (LayerPair, Attribution, Provenance)

    a: str
    b: str
    layers: tuple[LayerPair, ...]
    samples: Tensor
    labels: Tensor
    predicted: Tensor
    confidence: Tensor
    disagreeing: tuple[str, ...]
    explained_a: Attribution | None
    explained_b: Attribution | None
    unreadable: int

    def __getitem__(self, layer: str) -> LayerPair:
        """One layer, by its key."""
        for pair in self.layers:
            if pair.layer == layer:
                return pair
        raise NetLensError(f"{layer!r} was not compared; there are {', '.join(pair.layer for pair in self.layers)}.")

    @property
    def changed(self) -> tuple[LayerPair, ...]:
        """The layers in the order of their own change, largest first. Those that do not fit are left out."""
        pairs = [pair for pair in self.layers if pair.change == pair.change]
        return tuple(sorted(pairs, key=lambda pair: -pair.change))

    @property
    def accuracy(self) -> tuple[float, float]:
        """The accuracies of A and of B on the samples with labels; NaN without any."""
        labeled = self.labels >= 0
        right = (self.predicted == self.labels)[:, labeled].double().mean(1).tolist()
        return right[0], right[1]

    @property
    def agreement(self) -> float:
        """The share of samples for which both predict the same class."""
        return float((self.predicted[0] == self.predicted[1]).double().mean())

    def show(self) -> Picture:
        """Draw the distances, the own changes and the accuracies of networks put together, by layer."""
        from netlens.show import COLORS, Picture, chart

        names = [pair.layer for pair in self.layers]
        width = max(700, 44 * len(names))
        lowest = 40 + 9 * max(map(len, names))
        picture = Picture(130 + width + 40, 140 + 2 * 300 + 220 + lowest)
        picture.write(f"A: {self.a}, B: {self.b}", 20, 12, 24, picture.shape[1] - 40)
        accuracies = (
            ""
            if any(one != one for one in self.accuracy)
            else (f", accuracy {self.accuracy[0]:.1%} and {self.accuracy[1]:.1%}")
        )
        line = f"same prediction for {self.agreement:.1%} of {len(self.samples):,} samples{accuracies}"
        picture.write(line, 20, 46, 20, picture.shape[1] - 40, color="#6b6b6b")
        positions = range(len(names))
        rows = [
            ("own change: B's part on A's activations, in standard deviations of A", ("change",)),
            ("distance: 1 − CKA", ("distance",)),
            ("accuracy of networks put together", ("swapped", "stitched")),
        ]
        for row, (heading, fields) in enumerate(rows):
            if row == 2 and all(pair.stitched != pair.stitched for pair in self.layers):
                heading, fields = "share predicted as A does", ("swapped_same", "stitched_same")
            axes = chart(picture, (130, 140 + 300 * row, width, 220), title=heading)
            for color, name in zip(COLORS, fields, strict=False):
                values = [getattr(pair, name) for pair in self.layers]
                if row == 0:
                    axes.bar(positions, values, color=color, width=0.7)
                else:
                    axes.plot(positions, values, color=color, marker="o", markersize=2.5, linewidth=1)
            if row == 2:
                labels = ("A with this part of B", "A up to here, then B")
                axes.legend(axes.lines, labels, fontsize=6, frameon=False, loc="lower left")
                axes.set_ylim(0, 1.05)
            elif row == 1:
                axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
            axes.set_xlim(-0.6, len(names) - 0.4)
            axes.set_xticks(positions, names if row == 2 else [""] * len(names), rotation=90, parse_math=False)
        return picture

    def show_disagreements(self) -> Picture:
        """Draw the pictures on which the networks disagree, with the explanations of both beside each other.

        Raises:
            NetLensError: They agree on all pictures.
        """
        from netlens.show import panel

        if self.explained_a is None or self.explained_b is None:
            raise NetLensError(f"{self.a} and {self.b} predict the same for all pictures.")
        return panel([self.explained_a, self.explained_b], titles=[f"A: {self.a}", f"B: {self.b}"])

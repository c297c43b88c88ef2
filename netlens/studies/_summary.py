"""Summaries of attributions: the channels and places that speak for each class, and their drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.options import checked
from netlens.studies._stored import Stored

if TYPE_CHECKING:
    from netlens.show import Picture


class Voice(NamedTuple):
    """A channel that speaks for a class.

    Attributes:
        channel: Its number.
        value: Its mean contribution: a share of the magnitudes of all contributions, negative against the class.
    """

    channel: int
    value: float


@dataclass(frozen=True, eq=False)
class ByClass:
    """Sums of the contributions of all samples, by class.

    Attributes:
        classes: (m,): the classes that occur, ascending.
        count: (m,): the number of samples of each of them.
        channel_sums: (m, C), float64: the contributions of each channel, summed over samples.
        place_sums: (m, h, w), float64: the contributions of each place.
        share_sums: (m,), float64: the shares on the masks.
        masked: (m,): the number of samples with a mask.
    """

    classes: Tensor
    count: Tensor
    channel_sums: Tensor
    place_sums: Tensor
    share_sums: Tensor
    masked: Tensor

    @property
    def channels(self) -> Tensor:
        """(m, C), float64: the mean contribution of each channel to each class."""
        return self.channel_sums / self.count[:, None]

    @property
    def places(self) -> Tensor:
        """(m, h, w), float64: the mean contribution of each place to each class."""
        return self.place_sums / self.count[:, None, None]

    @property
    def shares(self) -> Tensor:
        """(m,), float64: the mean share of the positive contributions on the masks; NaN for a class without masks."""
        return self.share_sums / self.masked

    @property
    def share(self) -> float:
        """The mean share on the masks, over all samples that have one; NaN without masks."""
        return float(self.share_sums.sum() / self.masked.sum())

    def over_all(self) -> tuple[Tensor, Tensor]:
        """The mean contributions over all samples: of each channel (C,) and of each place (h, w)."""
        count = self.count.sum()
        return self.channel_sums.sum(0) / count, self.place_sums.sum(0) / count

    def top(self, k: int = 5, label: int | None = None) -> tuple[Voice, ...]:
        """The k channels that speak most for a class, or for the classes of all samples, strongest first.

        Of equal contributions, the lower channel comes first.

        Raises:
            NetLensError: No sample is of this class.
        """
        k = checked("k", k, int, least=1)
        values = self.over_all()[0] if label is None else self.channels[self.row(label)]
        order = values.argsort(descending=True, stable=True)[:k]
        return tuple(
            Voice(channel, value) for channel, value in zip(order.tolist(), values[order].tolist(), strict=True)
        )

    def row(self, label: int) -> int:
        """The row of a class."""
        rows = (self.classes == label).nonzero()
        if len(rows) == 0:
            raise NetLensError(f"no sample is of class {label}; there are {self.classes.tolist()[:20]}.")
        return int(rows[0])

    @classmethod
    def empty(cls) -> ByClass:
        """The side of a data set without samples."""
        whole, number = torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.float64)
        return cls(whole, whole, number.view(0, 0), number.view(0, 0, 0), number, whole)


@dataclass(frozen=True, eq=False, repr=False)
class AttributionSummary(Stored):
    """Which channels of a layer, and which places, speak for the predicted and for the true class.

    Attributes:
        layer: The layer.
        method: The method.
        predicted: The contributions to the predicted class, by that class.
        true: The contributions to the label, by label.
    """

    parts: ClassVar[tuple[type, ...]] = (ByClass,)

    layer: str
    method: str
    predicted: ByClass
    true: ByClass

    def show(self, labels: Sequence[int] | None = None, names: Sequence[str] | None = None, k: int = 8) -> Picture:
        """Draw the places and the k strongest channels of some classes.

        Args:
            labels: The classes; None for the first eight that occur.
            names: The names of all classes; None for their numbers.
            k: The number of channels, at least 1.
        """
        from netlens.show import Picture

        sides = [side for side in (self.predicted, self.true) if len(side.classes)]
        if not sides:
            raise NetLensError("there is no sample, so there is nothing to draw.")
        occurring_labels = sorted({label for side in sides for label in side.classes.tolist()})
        chosen: list[int | None] = [None, *(occurring_labels[:8] if labels is None else labels)]
        picture = Picture(60 + 760 * len(sides), 70 + _ROW * len(chosen))
        for column, side in enumerate(sides):
            of = "the label" if side is self.true else "the predicted class"
            picture.write(f"for {of}", 30 + 760 * column, 14, 22, 300)
            picture.write(f"channels of {self.layer}, {self.method}", 350 + 760 * column, 18, 17, 380, color="#6b6b6b")
            for row, label in enumerate(chosen):
                place = (30 + 760 * column, 60 + _ROW * row)
                _draw(picture, place, side, label, "all classes" if label is None else _name(label, names), k)
        return picture


_ROW = 240


def _name(label: int, names: Sequence[str] | None) -> str:
    return f"class {label}" if names is None else names[label]


def _draw(picture: Picture, place: tuple[int, int], side: ByClass, label: int | None, name: str, k: int) -> None:
    """One class: the map of its places, and bars of its channels."""
    import matplotlib as mpl
    import numpy as np

    from netlens.show import COLORS, chart

    x, y = place
    if label is not None and label not in side.classes.tolist():
        picture.write(f"{name}: no sample", x, y, 20, 700)
        return
    row = None if label is None else side.row(label)
    count = int(side.count.sum()) if row is None else int(side.count[row])
    share = side.share if row is None else float(side.shares[row])
    on_mask = "" if share != share else f", {share:.0%} on the mask"
    picture.write(f"{name}, {count:,} samples{on_mask}", x, y, 20, 700)
    places = side.over_all()[1] if row is None else side.places[row]
    bound = float(places.abs().max())
    colors = mpl.colormaps["bwr"](np.asarray(places / bound / 2 + 0.5) if bound > 0 else np.full(places.shape, 0.5))
    pixels = (colors * 255).round().astype(np.uint8)
    scale = max(1, 180 // max(pixels.shape[:2]))
    picture.place(pixels.repeat(scale, 0).repeat(scale, 1), x, y + 30)
    voices = side.top(k, label)
    axes = chart(picture, (x + 250, y + 36, 440, 160), letter=18)
    axes.bar(range(len(voices)), [voice.value for voice in voices], color=COLORS[0], width=0.7)
    axes.axhline(0, color="#6b6b6b", linewidth=0.5)
    axes.set_xticks(range(len(voices)), [str(voice.channel) for voice in voices])

"""Transforms that change the size of what is seen: pads, crops, and the fit to the size that a network wants."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.visualization.options import several, whole
from netlens.visualization.transforms.affine import GRAY, Geometric, Outside, View
from netlens.visualization.transforms.base import Generators, Size, one_of, uniform


@dataclass(frozen=True)
class Pad(Geometric):
    """See `pixels` more on each side, and `outside` there and further out."""

    pixels: int
    outside: Outside = GRAY

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", whole("a pad, in pixels,", self.pixels, 0))
        if isinstance(self.outside, str) and self.outside not in ("reflect", "edge"):
            raise NetLensError(f"outside is a gray value, 'reflect' or 'edge', not {self.outside!r}.")

    def seen(self, view: View, generators: Generators) -> View:
        height, width = view.size
        return replace(view, size=(height + 2 * self.pixels, width + 2 * self.pixels), outside=self.outside)


@dataclass(frozen=True)
class CenterCrop(Geometric):
    """See `pixels` less on each side: what `Pad` added, once jitter and rotation have used it."""

    pixels: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", whole("a margin, in pixels,", self.pixels, 0))

    def seen(self, view: View, generators: Generators) -> View:
        height, width = view.size
        if min(height, width) <= 2 * self.pixels:
            raise NetLensError(f"a picture of {height} × {width} has no {self.pixels} pixels to spare on each side.")
        return replace(view, size=(height - 2 * self.pixels, width - 2 * self.pixels))


@dataclass(frozen=True)
class RandomCrop(Geometric):
    """See a window of `size` at a place drawn evenly from those that lie within."""

    size: int | Size

    def __post_init__(self) -> None:
        if len(several("a side of a window", self.size, 1)) not in (1, 2):
            raise NetLensError(f"a window has a side or (height, width), in pixels, not {self.size!r}.")

    def seen(self, view: View, generators: Generators) -> View:
        sides = several("a side of a window", self.size)
        rows, columns = sides[0], sides[-1]
        (height, width) = view.size
        if rows > height or columns > width:
            raise NetLensError(f"a window of {rows} × {columns} does not fit into a picture of {height} × {width}.")
        matrices = View.whole(len(generators), view.size).matrices
        for axis, spare in ((0, width - columns), (1, height - rows)):
            matrices[:, axis, 2] = torch.tensor(one_of(generators, spare + 1), dtype=torch.float64) - spare / 2
        return replace(view.moved(matrices), size=(rows, columns))


@dataclass(frozen=True)
class ZoomCrop(Geometric):
    """See a window of `low` to `high` of the height and width, anywhere within, at the size of the whole.

    Fel et al. 2023 (MACO), https://arxiv.org/abs/2306.06805
    """

    low: float = 0.5
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high <= 1:
            raise NetLensError(f"a crop shows a share of the picture, from 0 to 1, not {self.low} to {self.high}.")

    def seen(self, view: View, generators: Generators) -> View:
        share = uniform(generators, self.low, self.high)
        matrices = View.whole(len(generators), view.size).matrices
        for axis, length in ((0, view.size[1]), (1, view.size[0])):
            matrices[:, axis, axis] = share
            matrices[:, axis, 2] = uniform(generators, -0.5, 0.5) * (1 - share) * length
        return view.moved(matrices)


@dataclass(frozen=True)
class Fit(Geometric):
    """See all that there is at `size`."""

    size: Size

    def seen(self, view: View, generators: Generators) -> View:
        (height, width), (rows, columns) = view.size, self.size
        zoom: Tensor = torch.tensor([width / columns, height / rows, 1], dtype=torch.float64).diag()
        return replace(view.moved(zoom.expand(len(generators), 3, 3)), size=(rows, columns))

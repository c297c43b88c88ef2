"""Transforms that change the size of a picture: padding, crops, and resizing to the input of a network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netlens.errors import NetLensError
from netlens.options import check, option
from netlens.visualization.transforms._affine import GRAY, Geometric, Outside, View
from netlens.visualization.transforms._base import Generators, Size, check_range, one_of, uniform


@dataclass(frozen=True)
class Pad(Geometric):
    """Add `pixels` on each side, with values from outside of the picture."""

    pixels: int = option(least=0, help="Pixels to add on each side.")
    outside: Outside = option(GRAY, help="Values outside of the picture: a gray value, its mirror image, or its edge.")

    def __post_init__(self) -> None:
        check(self)

    def view_through(self, view: View, generators: Generators) -> View:
        height, width = view.size
        return replace(view, size=(height + 2 * self.pixels, width + 2 * self.pixels), outside=self.outside)


@dataclass(frozen=True)
class CenterCrop(Geometric):
    """Remove `pixels` on each side, such as those that `Pad` has added before a jitter or a rotation."""

    pixels: int = option(least=0, help="Pixels to remove on each side.")

    def __post_init__(self) -> None:
        check(self)

    def view_through(self, view: View, generators: Generators) -> View:
        height, width = view.size
        if min(height, width) <= 2 * self.pixels:
            raise NetLensError(f"a picture of {height} × {width} has no {self.pixels} pixels to spare on each side.")
        return replace(view, size=(height - 2 * self.pixels, width - 2 * self.pixels))


@dataclass(frozen=True)
class RandomCrop(Geometric):
    """Show a window of `size` at a random position in the picture."""

    size: int | Size = option(least=1, help="The window: a side in pixels, or height and width.")

    def __post_init__(self) -> None:
        check(self)

    def view_through(self, view: View, generators: Generators) -> View:
        rows, columns = (self.size, self.size) if isinstance(self.size, int) else self.size
        (height, width) = view.size
        if rows > height or columns > width:
            raise NetLensError(f"a window of {rows} × {columns} does not fit into a picture of {height} × {width}.")
        matrices = View.whole(len(generators), view.size).matrices
        for axis, spare in ((0, width - columns), (1, height - rows)):
            matrices[:, axis, 2] = torch.tensor(one_of(generators, spare + 1), dtype=torch.float64) - spare / 2
        return replace(view.moved(matrices), size=(rows, columns))


@dataclass(frozen=True)
class ZoomCrop(Geometric):
    """Show a random window, magnified to the size of the picture. The share of its sides is from `low` to `high`.

    Fel et al. 2023, https://arxiv.org/abs/2306.06805
    """

    low: float = option(0.5, above=0, most=1, help="The smallest share of the height and width.")
    high: float = option(1.0, above=0, most=1, help="The largest share of the height and width.")

    def __post_init__(self) -> None:
        check(self)
        check_range(self, self.low, self.high)

    def view_through(self, view: View, generators: Generators) -> View:
        share = uniform(generators, self.low, self.high)
        matrices = View.whole(len(generators), view.size).matrices
        for axis, length in ((0, view.size[1]), (1, view.size[0])):
            matrices[:, axis, axis] = share
            matrices[:, axis, 2] = uniform(generators, -0.5, 0.5) * (1 - share) * length
        return view.moved(matrices)


@dataclass(frozen=True)
class Fit(Geometric):
    """Resize the whole picture to `size`."""

    size: Size = option(least=1, help="Height and width in pixels.")

    def __post_init__(self) -> None:
        check(self)

    def view_through(self, view: View, generators: Generators) -> View:
        (height, width), (rows, columns) = view.size, self.size
        zoom: Tensor = torch.tensor([width / columns, height / rows, 1], dtype=torch.float64).diag()
        return replace(view.moved(zoom.expand(len(generators), 3, 3)), size=(rows, columns))

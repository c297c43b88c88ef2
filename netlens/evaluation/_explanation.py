"""An explanation: one number for each pixel of each image, wherever it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from netlens import heatmaps
from netlens.attribution import Attribution, Method
from netlens.errors import NetLensError, NonFiniteError
from netlens.evaluation._case import Case


@dataclass(frozen=True, eq=False)
class Explanation:
    """One number for each pixel of each image: how much it speaks for what is explained.

    Args:
        case: What it explains.
        maps: (N, H, W), float64.
        name: What made it.
        method: The method, if metrics may ask it again for other images; None if the maps come from elsewhere.
        totals: (N,), the sum of the values of which the maps were made; None for the sum of the maps.
    """

    case: Case
    maps: Tensor
    name: str
    method: Method | None = None
    totals: Tensor | None = None
    _runs: dict[Any, dict[tuple[bool, int], Tensor]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, case: Case, source: Method | Attribution | Any, name: str = "") -> Explanation:
        """The explanation that a method gives, or that an attribution or an array of numbers is.

        The number of a pixel is the sum over channels: of the values, or of their sizes if the method gives gradients
        or other values whose sign says nothing (`reduction="magnitude"`). Maps of another size are resized linearly.

        Args:
            case: What is explained.
            source: A method; an attribution; or an array (N, H, W) or (N, C, H, W) from anywhere.
            name: What to call it; by default the name of the method.

        Raises:
            NetLensError: There is not one map for each image.
            NonFiniteError: The maps hold NaN or Inf.
        """
        if isinstance(source, Method):
            attribution = source(case.flat, case.x, case.explained)
            title = name or type(source).__name__
            return cls(case, relevance(attribution, case), title, source, _totals(attribution))
        if isinstance(source, Attribution):
            return cls(case, relevance(source, case), name or source.title, None, _totals(source))
        maps = torch.as_tensor(source).detach().cpu().double()
        maps = maps[:, None] if maps.ndim == 3 else maps
        return cls(case, _fitted(maps.sum(1, keepdim=True) if maps.ndim == 4 else maps, case), name or "given")

    def take(self, case: Case, rows: Sequence[int]) -> Explanation:
        """The explanation of some of the images, which are those of another case."""
        every = list(rows)
        totals = None if self.totals is None else self.totals[every]
        return Explanation(case, self.maps[every], self.name, self.method, totals)

    @cached_property
    def ranks(self) -> Tensor:
        """(N, H, W): the place of each pixel in the order of relevance; 0 is the most relevant. Ties go row by row."""
        return ranks(self.maps.flatten(1)).view_as(self.maps)

    def again(self, x: Tensor, rows: list[int]) -> Tensor:
        """(m, H, W): what the method says about other images, each with what is explained in one of the case's."""
        if self.method is None:
            raise NetLensError(f"{self.name} is an array, so it cannot explain other images; give the method itself.")
        attribution = self.method(self.case.flat, x, self.case.explained.take(rows))
        return relevance(attribution, self.case, len(rows))


def relevance(attribution: Attribution, case: Case, n: int | None = None) -> Tensor:
    """(N, H, W), float64: the number of each pixel in an attribution; see `Explanation.of`."""
    sign: heatmaps.Sign = "absolute_value" if attribution.reduction == "magnitude" else "all"
    return _fitted(heatmaps.reduce(attribution.spatial.detach().cpu().double(), sign), case, n)


def _totals(attribution: Attribution) -> Tensor:
    return attribution.values.detach().cpu().double().flatten(1).sum(1)


def ranks(values: Tensor) -> Tensor:
    """(N, P): the place of each value in its row, from the highest, 0, to the lowest. Equal values keep their order."""
    order = values.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(values.shape[1]).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def _fitted(maps: Tensor, case: Case, n: int | None = None) -> Tensor:
    n = len(case) if n is None else n
    if maps.ndim != 4 or len(maps) != n:
        raise NetLensError(f"an explanation has one map for each of {n} images; this one is {tuple(maps.shape)}.")
    if not torch.isfinite(maps).all():
        raise NonFiniteError("the maps of an explanation hold NaN or Inf.")
    return heatmaps.resize(maps, case.sides)[:, 0]

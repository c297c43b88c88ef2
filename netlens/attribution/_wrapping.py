"""Methods that are made of another method."""

from __future__ import annotations

from torch import Tensor

from netlens.attribution.method import Method
from netlens.flat import FlatModel


class Wrapping(Method):
    """Abstract: a method whose values have the layout of the values of its option `method`."""

    method: Method

    @property
    def gives_maps(self) -> bool:  # type: ignore[override]
        return self.method.gives_maps

    def at(self, flat: FlatModel, x: Tensor, wrt: str) -> str:
        return self.method.at(flat, x, wrt)

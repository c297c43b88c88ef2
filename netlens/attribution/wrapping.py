"""Methods that are made of another method."""

from __future__ import annotations

from torch import Tensor

from netlens.attribution.method import Method
from netlens.flat import FlatModel


class Wrapping(Method):
    """Abstract: a method whose values lie where those of its option `method` lie."""

    method: Method

    def look(self, flat: FlatModel, x: Tensor) -> None:
        self.method.look(flat, x)

    def at(self, flat: FlatModel, wrt: str) -> str:
        return self.method.at(flat, wrt)

    def maps(self, flat: FlatModel, key: str, values: Tensor) -> Tensor | None:
        return self.method.maps(flat, key, values)

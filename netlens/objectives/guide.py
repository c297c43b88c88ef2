"""The objective of guided dreams: at each position, more of what the guide has that is most like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from netlens.objectives.base import Objective, Record
from netlens.objectives.reference import Reference, names_of

_AT_ONCE = 1 << 24  # products of positions held in memory


@dataclass(frozen=True, repr=False, eq=False)
class Guide(Reference):
    """For each position the highest dot product with any position of the other picture; see `guide`."""

    def keep(self, record: Record, name: str) -> tuple[Tensor, ...]:
        return (record.maps(name),)

    def compared(self, record: Record, name: str, *theirs: Tensor) -> Tensor:
        mine, other = record.maps(name).flatten(2), theirs[0].flatten(2)
        # which of them is most like is decided without gradients; only its product is differentiated
        chunk = max(1, _AT_ONCE // (len(mine) * other.shape[2]))
        best = [
            (part.detach().transpose(1, 2) @ other).argmax(2).unsqueeze(1).expand(-1, mine.shape[1], -1)
            for part in mine.split(chunk, 2)
        ]
        everyone = other.expand(len(mine), -1, -1)
        products = [
            (part * everyone.gather(2, index)).sum(1).sum(1)
            for part, index in zip(mine.split(chunk, 2), best, strict=True)
        ]
        return sum(products[1:], products[0]) / mine.shape[2]

    def __repr__(self) -> str:
        return f"guide({', '.join(map(repr, self.names))})"


def guide(layers: str | Sequence[str], image: Any) -> Objective:
    """At each position the dot product with that position of `image` that is most like it, averaged over positions.

    A dream with it grows what `image` shows out of what is there. The two pictures may differ in size.

    Mordvintsev et al. 2015, https://github.com/google/deepdream
    """
    return Guide(names_of(layers), image)

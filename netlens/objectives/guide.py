"""The objective of guided dreams, which compares each position with the most similar position of another picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from netlens.objectives.base import Objective, Record
from netlens.objectives.reference import Reference, names_of

_PRODUCTS = 1 << 24  # the most products of positions in memory at a time


@dataclass(frozen=True, repr=False, eq=False)
class Guide(Reference):
    """The highest dot product of each position with any position of the other picture; see `guide`."""

    def keep(self, record: Record, name: str) -> tuple[Tensor, ...]:
        return (record.maps(name),)

    def compared(self, record: Record, name: str, *theirs: Tensor) -> Tensor:
        activation, other = record.maps(name).flatten(2), theirs[0].flatten(2)
        # the choice of the most similar position has no gradient, only the product with it
        chunk = max(1, _PRODUCTS // (len(activation) * other.shape[2]))
        best = [
            (part.detach().transpose(1, 2) @ other).argmax(2).unsqueeze(1).expand(-1, activation.shape[1], -1)
            for part in activation.split(chunk, 2)
        ]
        others = other.expand(len(activation), -1, -1)
        products = [
            (part * others.gather(2, index)).sum(1).sum(1)
            for part, index in zip(activation.split(chunk, 2), best, strict=True)
        ]
        mean: Tensor = sum(products[1:], products[0]) / activation.shape[2]
        return mean

    def __repr__(self) -> str:
        return f"guide({', '.join(map(repr, self.names))})"


def guide(layers: str | Sequence[str], image: Any) -> Objective:
    """The mean over positions p of the highest dot product with any position q of another picture: max_q a_p · b_q.

    a and b are the activations of the two pictures, which may differ in size. A dream with this objective turns what
    is in the picture into what `image` shows.

    Args:
        layers: one layer or several; of several layers, the objective is the mean.
        image: a picture, or a batch of pictures with one per sample.

    Example:
        >>> import torch
        >>> guide("layer3", torch.zeros(3, 224, 224))
        guide('layer3')

    Mordvintsev et al. 2015, https://github.com/google/deepdream
    """
    return Guide(names_of(layers), image)

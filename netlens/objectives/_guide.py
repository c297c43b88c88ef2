"""The objective of guided dreams: it compares each position with the most similar position of another picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from netlens.objectives._base import Objective, Record
from netlens.objectives._reference import Reference
from netlens.objectives.layers import names_of

_PRODUCTS = 1 << 24  # the largest number of products of two positions that are in memory at a time


@dataclass(frozen=True, repr=False, eq=False)
class Guide(Reference):
    """The highest dot product of each position with any position of the other picture; see `guide`."""

    def reference_tensors(self, record: Record, name: str) -> tuple[Tensor, ...]:
        return (record.maps(name),)

    def compare(self, record: Record, name: str, *reference: Tensor) -> Tensor:
        activation, reference_positions = record.maps(name).flatten(2), reference[0].flatten(2)
        # the choice of the most similar position has no gradient; the dot product with the chosen position has one
        chunk = max(1, _PRODUCTS // (len(activation) * reference_positions.shape[2]))
        best = [
            (block.detach().transpose(1, 2) @ reference_positions)
            .argmax(2)
            .unsqueeze(1)
            .expand(-1, activation.shape[1], -1)
            for block in activation.split(chunk, 2)
        ]
        references = reference_positions.expand(len(activation), -1, -1)
        products = [
            (block * references.gather(2, index)).sum(1).sum(1)
            for block, index in zip(activation.split(chunk, 2), best, strict=True)
        ]
        mean: Tensor = sum(products[1:], products[0]) / activation.shape[2]
        return mean

    def __repr__(self) -> str:
        return f"guide({', '.join(map(repr, self.names))})"


def guide(layers: str | Sequence[str], image: Any) -> Objective:
    """The mean over positions p of the highest dot product with any position q of another picture: max_q a_p · b_q.

    a and b are the activations of the two pictures, which may have different sizes. A dream with this objective gives
    the picture the patterns of `image`.

    Args:
        layers: One layer or several layers. For several layers, the objective is the mean.
        image: A picture, or a batch of pictures with one per sample.

    Example:
        >>> import torch
        >>> guide("layer3", torch.zeros(3, 224, 224))
        guide('layer3')

    Mordvintsev et al. 2015, https://github.com/google/deepdream
    """
    return Guide(names_of(layers), image)

"""Objectives of a direction in the space of a layer's channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NetLensError
from netlens.objectives._base import Objective, PerSample, Record
from netlens.objectives.layers import position_in
from netlens.options import checked

if TYPE_CHECKING:
    from collections.abc import Callable

# without this lower bound, an activation with a negative cosine would have no gradient if cosine_power > 0
_LEAST_COSINE = 0.1


@dataclass(frozen=True, repr=False, eq=False)
class Direction(PerSample):
    """The dot product of an activation with a direction; see `direction` and `direction_at`.

    Args:
        layer: The layer, by any name.
        vector: (C,), or (N, C) with one direction per sample.
        cosine_power: The dot product is multiplied by the cosine to this power, at least 0.
        reduce: A function from the map of dot products (N, h, w) to one number per sample (N,).
        name: The text of `repr`.
    """

    layer: str
    vector: Tensor
    cosine_power: float
    reduce: Callable[[Tensor], Tensor]
    name: str

    def __post_init__(self) -> None:
        check_power(self.cosine_power)
        # autograd cannot use tensors that are made under inference_mode
        with torch.inference_mode(False):
            object.__setattr__(self, "vector", torch.as_tensor(self.vector).detach().clone())

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def __call__(self, record: Record) -> Tensor:
        maps = record.maps(self.layer)
        vector = self.vector.to(maps)
        n, channels = maps.shape[:2]
        if tuple(vector.shape) not in ((channels,), (n, channels)):
            needed = f"({channels},)" + (f" or ({n}, {channels})" if vector.ndim == 2 else "")
            raise NetLensError(f"vector has shape {tuple(vector.shape)}, but layer {self.layer!r} needs {needed}.")
        vectors = vector.expand(n, channels).view(n, channels, *[1] * (maps.ndim - 2))
        return self.reduce(cosine_weighted_product(maps, vectors, self.cosine_power))

    def take(self, samples: Sequence[int]) -> Objective:
        return replace(self, vector=self.vector[list(samples)]) if self.vector.ndim == 2 else self

    def __repr__(self) -> str:
        return self.name


def direction(key: str, vector: Tensor, *, cosine_power: float = 0) -> Objective:
    """The mean over positions of a · v · cos(a, v)^cosine_power, where a is the activation at a position.

    An activation of large length has a large dot product with many directions. With a cosine power above 0, activations
    that point in the direction v count more. A cosine below 0.1 counts as 0.1.

    Args:
        key: The layer, by key, path, glob or index.
        vector: v, one number per channel (C,); or (N, C) with one direction per sample. A tensor or an array.
        cosine_power: At least 0; 0 is the plain dot product.

    Raises:
        NetLensError: When the objective is computed: the layer has another number of channels.

    Example:
        >>> direction("layer3", torch.ones(256), cosine_power=2)
        direction('layer3', cosine_power=2)

    Olah et al. 2018, https://distill.pub/2018/building-blocks/; Carter et al. 2019,
    https://distill.pub/2019/activation-atlas/
    """

    def mean(products: Tensor) -> Tensor:
        return products.flatten(1).mean(1)

    return Direction(key, vector, cosine_power, mean, f"direction({key!r}{power_text(cosine_power)})")


def direction_at(
    key: str, vector: Tensor, y: int | None = None, x: int | None = None, *, cosine_power: float = 0
) -> Objective:
    """The same as `direction`, at one position of the map instead of the mean over all positions.

    Args:
        key: The layer, by key, path, glob or index.
        vector: One number per channel (C,); or (N, C) with one direction per sample.
        y: The row of the map, from 0; None for the middle row.
        x: The column of the map, from 0; None for the middle column.
        cosine_power: At least 0; 0 is the plain dot product.

    Example:
        >>> direction_at("layer3", torch.ones(256), y=0, x=3)
        direction_at('layer3', 0, 3)
    """

    def at_position(products: Tensor) -> Tensor:
        row, column = position_in(products, key, y, x)
        return products[:, row, column]

    name = f"direction_at({key!r}, {y}, {x}{power_text(cosine_power)})"
    return Direction(key, vector, cosine_power, at_position, name)


def cosine_weighted_product(activation: Tensor, vector: Tensor, cosine_power: float) -> Tensor:
    """(N, ...): the dot product of an activation (N, C, ...) with `vector`, times the power of their cosine."""
    product = (activation * vector).sum(1)
    if cosine_power == 0:
        return product
    return product * F.cosine_similarity(activation, vector, dim=1).clamp(min=_LEAST_COSINE) ** cosine_power


def check_power(cosine_power: float) -> None:
    """Raise if the power is below 0 or not finite."""
    checked("cosine_power", cosine_power, float, least=0)


def power_text(cosine_power: float) -> str:
    """The power as an argument in the text of `repr`. For the default, 0, the text is empty."""
    return f", cosine_power={cosine_power:g}" if cosine_power != 0 else ""

"""Objectives over a direction in the space of a layer's channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NetLensError
from netlens.objectives.base import Objective, PerSample, Record
from netlens.objectives.layers import position_in

if TYPE_CHECKING:
    from collections.abc import Callable

# a direction that points away is not forgotten: without this floor it would have no gradient once cosine_power > 0
_LEAST_COSINE = 0.1


@dataclass(frozen=True, repr=False, eq=False)
class Direction(PerSample):
    """How far the activation goes along a direction, over all positions or at one of them.

    vector: (C,), or (N, C) with one per sample. where: what is kept of a map (N, h, w); `name` says it in words.
    """

    layer: str
    vector: Tensor
    cosine_power: float
    where: Callable[[Tensor], Tensor]
    name: str

    def __post_init__(self) -> None:
        check_power(self.cosine_power)
        # a vector that was made under inference_mode could take no part in gradients
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
            raise NetLensError(f"the direction has shape {tuple(vector.shape)}; {self.layer!r} needs {needed}.")
        return self.where(along(maps, vector.expand(n, channels)[:, :, None, None], self.cosine_power))

    def take(self, samples: Sequence[int]) -> Objective:
        return replace(self, vector=self.vector[list(samples)]) if self.vector.ndim == 2 else self

    def __repr__(self) -> str:
        return self.name


def direction(key: str, vector: Tensor, *, cosine_power: float = 0) -> Objective:
    """The dot product of `vector` (C,), one number per channel, with the activation, averaged over positions.

    A vector (N, C) gives one direction per sample; arrays will do. With a `cosine_power` p the dot product at each
    position is multiplied by cosine^p, so that more of other directions, which a long activation mixes in, counts less;
    a cosine below 0.1 counts as 0.1.

    Olah et al. 2018, https://distill.pub/2018/building-blocks/; Carter et al. 2019,
    https://distill.pub/2019/activation-atlas/
    """

    def mean(products: Tensor) -> Tensor:
        return products.flatten(1).mean(1)

    return Direction(key, vector, cosine_power, mean, f"direction({key!r}{power_text(cosine_power)})")


def direction_at(
    key: str, vector: Tensor, y: int | None = None, x: int | None = None, *, cosine_power: float = 0
) -> Objective:
    """As `direction`, at one position of the map; by default the one in the middle."""

    def there(products: Tensor) -> Tensor:
        row, column = position_in(products, key, y, x)
        return products[:, row, column]

    name = f"direction_at({key!r}, {y}, {x}{power_text(cosine_power)})"
    return Direction(key, vector, cosine_power, there, name)


def along(activation: Tensor, vector: Tensor, cosine_power: float) -> Tensor:
    """The dot product of an activation (N, C, ...) with `vector` over C, times cosine^cosine_power."""
    product = (activation * vector).sum(1)
    if cosine_power == 0:
        return product
    return product * F.cosine_similarity(activation, vector, dim=1).clamp(min=_LEAST_COSINE) ** cosine_power


def check_power(cosine_power: float) -> None:
    """Raise if it is no power of a cosine."""
    if not cosine_power >= 0:
        raise NetLensError(f"cosine_power is {cosine_power}; it must be 0 or more.")


def power_text(cosine_power: float) -> str:
    """The power as the argument it was given by, where it is not the default."""
    return f", cosine_power={cosine_power:g}" if cosine_power != 0 else ""

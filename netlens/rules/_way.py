"""The straight path of a layer from what it read on the baseline to its inputs, and the integral of its gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netlens.flat.rules import is_differentiable, vjp
from netlens.rules._calls import tensors

PLACES = 32
"""The number of places of the whole path where gradients are computed."""
Share = float | Tensor
"""A place on the path, from 0 to 1: one number, or one for each row."""


def mean_gradient(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Any, places: int = PLACES
) -> list[Tensor | None]:
    """The mean of the true gradients on the straight path from the reference to the inputs, which all move together.

    The quadrature of Gauss and Legendre computes it: exactly for polynomials of degree 2 * `places`, and closely for
    smooth functions.
    """
    return Way(layer, inputs, reference, gradient, lambda x, r: x.requires_grad).integral(0, 1, places)


@dataclass
class Way:
    """The path of a layer from what it read on the baseline to its inputs. `moves` says which inputs get gradients."""

    layer: nn.Module
    end: Sequence[Tensor]
    reference: Sequence[Any]
    gradient: Any
    moves: Callable[[Tensor, Tensor], bool]

    @cached_property
    def start(self) -> list[Tensor]:
        return tensors(self.reference)

    @cached_property
    def moving(self) -> list[bool]:
        return [self.moves(x, r) for x, r in zip(self.end, self.start, strict=True)]

    def at(self, place: Share) -> list[Tensor]:
        ends = zip(self.end, self.start, self.moving, strict=True)
        return [_between(x, r, place, moves).requires_grad_(moves) for x, r, moves in ends]

    def integral(self, a: Share, b: Share, places: int) -> list[Tensor | None]:
        """The gradients, integrated from a to b. Each end is one number, or one per row."""
        total: list[Tensor | None] = [None] * len(self.end)
        with torch.enable_grad():
            for place, weight in zip(*np.polynomial.legendre.leggauss(places), strict=True):
                points = self.at(a + (b - a) * (1 + float(place)) / 2)
                output = self.layer(*points)
                for i, part in enumerate(vjp(output, points, _typed(self.gradient, output))):
                    if part is not None:
                        part, before = part * along_rows((b - a) * float(weight) / 2, part), total[i]
                        total[i] = part if before is None else before + part
        # an input that does not change may lack a slope, as a root at 0 does
        return [
            None if part is None else torch.where((x == r) & ~part.isfinite(), 0, part)
            for part, x, r in zip(total, self.end, self.start, strict=True)
        ]


def _between(x: Tensor, r: Tensor, share: Share, moves: bool) -> Tensor:
    if not is_differentiable(x) or (isinstance(share, Tensor) and not moves):
        return x.detach()  # there is nothing between two masks or indices
    # if both ends are -inf, under a mask, all values between are -inf, too
    return torch.where(x == r, x, r + along_rows(share, x) * (x - r)).detach()


def _typed(gradient: Any, output: Any) -> Any:
    """The gradient in the type of the output, which differs from its own in half precision."""
    return pytree.tree_map(lambda at, part: None if at is None else at.to(part.dtype), gradient, output)


def along_rows(rate: Share, values: Tensor) -> Any:
    """A number, or one number per row in a shape that broadcasts to the values."""
    if not isinstance(rate, Tensor):
        return rate
    rate = rate if rate.dtype == torch.bool else rate.to(values.real.dtype)
    return rate.view(-1, *[1] * (values.ndim - 1)) if values.ndim else rate[0]

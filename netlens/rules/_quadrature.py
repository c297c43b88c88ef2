"""Gradients of a layer, integrated over the straight path from its inputs on the baseline to its inputs."""

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

NODES = 32
"""The number of positions on the path where gradients are computed, for the whole path."""
Position = float | Tensor
"""A position on the path, from 0 to 1: one number, or one for each row."""


def mean_gradient(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Any, nodes: int = NODES
) -> list[Tensor | None]:
    """The mean of the true gradients on the straight path from the reference to the inputs, which all change together.

    The Gauss-Legendre quadrature with `nodes` nodes computes it: exactly for a layer that is a polynomial of degree
    2 * `nodes` or less, and closely for a smooth function.
    """
    return StraightPath(layer, inputs, reference, gradient, lambda x, r: x.requires_grad).integral(0, 1, nodes)


@dataclass
class StraightPath:
    """The straight path from the values that a layer read on the baseline (`reference`) to its inputs (`end`).

    `is_varied` gets an input and its reference, and says whether the input changes along the path and gets a gradient.
    """

    layer: nn.Module
    end: Sequence[Tensor]
    reference: Sequence[Any]
    gradient: Any
    is_varied: Callable[[Tensor, Tensor], bool]

    @cached_property
    def start(self) -> list[Tensor]:
        return tensors(self.reference)

    @cached_property
    def varies(self) -> list[bool]:
        return [self.is_varied(x, r) for x, r in zip(self.end, self.start, strict=True)]

    def points(self, position: Position) -> list[Tensor]:
        ends = zip(self.end, self.start, self.varies, strict=True)
        return [_point(x, r, position, varies).requires_grad_(varies) for x, r, varies in ends]

    def integral(self, a: Position, b: Position, nodes: int) -> list[Tensor | None]:
        """The gradients, integrated from a to b. Each end is one number, or one per row."""
        total: list[Tensor | None] = [None] * len(self.end)
        with torch.enable_grad():
            for node, weight in zip(*np.polynomial.legendre.leggauss(nodes), strict=True):
                points = self.points(a + (b - a) * (1 + float(node)) / 2)
                output = self.layer(*points)
                for i, gradient in enumerate(vjp(output, points, _in_type_of(self.gradient, output))):
                    if gradient is not None:
                        term, partial_sum = gradient * along_rows((b - a) * float(weight) / 2, gradient), total[i]
                        total[i] = term if partial_sum is None else partial_sum + term
        # if an input does not change, its gradient may be infinite (a root at 0) and counts as 0
        return [
            None if gradient is None else torch.where((x == r) & ~gradient.isfinite(), 0, gradient)
            for gradient, x, r in zip(total, self.end, self.start, strict=True)
        ]


def _point(x: Tensor, r: Tensor, position: Position, varies: bool) -> Tensor:
    if not is_differentiable(x) or (isinstance(position, Tensor) and not varies):
        return x.detach()  # there is nothing between two masks or indices
    # if both ends are -inf, under a mask, all values between are -inf, too
    return torch.where(x == r, x, r + along_rows(position, x) * (x - r)).detach()


def _in_type_of(gradient: Any, output: Any) -> Any:
    """The gradient in the type of the output. In half precision, the two types differ."""
    return pytree.tree_map(
        lambda gradient_leaf, output_leaf: None if gradient_leaf is None else gradient_leaf.to(output_leaf.dtype),
        gradient,
        output,
    )


def along_rows(number: Position, values: Tensor) -> Any:
    """A number, or one number per row in a shape that broadcasts to the values."""
    if not isinstance(number, Tensor):
        return number
    number = number if number.dtype == torch.bool else number.to(values.real.dtype)
    return number.view(-1, *[1] * (values.ndim - 1)) if values.ndim else number[0]

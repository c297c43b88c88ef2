"""Rules of relevance for products of activations and for the softmax of attention: AttnLRP.

Achtibat et al. 2024, https://arxiv.org/abs/2402.05602. Matrix products are `relevance.epsilon(active=...)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from netlens.flat.operations import innermost
from netlens.flat.rules import Rule


def uniform(active: Sequence[bool]) -> Rule:
    """All active factors of an elementwise product, such as a gate and its maps, take equal parts of the relevance."""

    def backward(
        layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance: Tensor
    ) -> Sequence[Tensor | None]:
        share = relevance / sum(active)
        return [
            share.sum_to_size(value.shape) if is_active else None
            for value, is_active in zip(inputs, active, strict=True)
        ]

    return Rule(backward, graph=False, name="uniform")


def numerator(active: Sequence[bool]) -> Rule:
    """The numerator of a quotient, such as a value over its norm, takes all relevance; the divisor is a constant."""
    index = list(active).index(True)

    def backward(
        layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance: Tensor
    ) -> Sequence[Tensor | None]:
        return [relevance.sum_to_size(value.shape) if i == index else None for i, value in enumerate(inputs)]

    return Rule(backward, graph=False, name="numerator")


def softmax() -> Rule:
    """The first term of the Taylor series of the softmax s: `R_x = x * (R - s * ΣR)`.

    The rule does not conserve relevance. The other terms of the series act as a bias, which absorbs `ΣR - Σ R_x`.
    """

    def backward(layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance: Tensor) -> Sequence[Tensor]:
        (x,), dim = inputs, getattr(innermost(layer), "dim", -3)
        shares = x * (relevance - output * relevance.sum(dim, keepdim=True))
        return [torch.where(x == -torch.inf, 0, shares)]  # a masked score gets no relevance

    return Rule(backward, graph=False, name="softmax")

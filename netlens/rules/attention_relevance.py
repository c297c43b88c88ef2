"""Rules of relevance for products of activations and the softmax of attention: AttnLRP.

Achtibat et al. 2024, https://arxiv.org/abs/2402.05602. Matrix products are `relevance.epsilon(active=...)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from netlens.flat.operations import innermost
from netlens.flat.rules import Rule


def uniform(active: Sequence[bool]) -> Rule:
    """Each active factor of an elementwise product takes the same part of the relevance, as of a gate and its maps."""

    def backward(
        layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance: Tensor
    ) -> Sequence[Tensor | None]:
        part = relevance / sum(active)
        return [part.sum_to_size(value.shape) if take else None for value, take in zip(inputs, active, strict=True)]

    return Rule(backward, graph=False, name="uniform")


def numerator(active: Sequence[bool]) -> Rule:
    """All relevance of a quotient goes to the numerator, as of a value and its norm; the divisor counts as constant."""
    first = list(active).index(True)

    def backward(
        layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance: Tensor
    ) -> Sequence[Tensor | None]:
        return [relevance.sum_to_size(value.shape) if i == first else None for i, value in enumerate(inputs)]

    return Rule(backward, graph=False, name="numerator")


def softmax() -> Rule:
    """The first term of the softmax's Taylor series: `R_x = x * (R - s * ΣR)`.

    Relevance is not conserved: the softmax's own bias, the rest of the series, absorbs `ΣR - Σ R_x`.
    """

    def backward(layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance: Tensor) -> Sequence[Tensor]:
        (x,), dim = inputs, getattr(innermost(layer), "dim", -3)
        shares = x * (relevance - output * relevance.sum(dim, keepdim=True))
        return [torch.where(x == -torch.inf, 0, shares)]  # a masked score takes no part

    return Rule(backward, graph=False, name="softmax")

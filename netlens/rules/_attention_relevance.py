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
    """The active factors of an elementwise product, such as a gate and its maps, take equal parts of the relevance."""

    def backward(
        layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance: Tensor
    ) -> Sequence[Tensor | None]:
        part = relevance / sum(active)
        return [part.sum_to_size(value.shape) if take else None for value, take in zip(inputs, active, strict=True)]

    return Rule(backward, graph=False, name="uniform")


def numerator(active: Sequence[bool]) -> Rule:
    """All relevance of a quotient, such as a value over its norm, goes to the numerator. The divisor is a constant."""
    first = list(active).index(True)

    def backward(
        layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance: Tensor
    ) -> Sequence[Tensor | None]:
        return [relevance.sum_to_size(value.shape) if i == first else None for i, value in enumerate(inputs)]

    return Rule(backward, graph=False, name="numerator")


def softmax() -> Rule:
    """The first term of the Taylor series of the softmax: `R_x = x * (R - s * ΣR)`.

    The rule does not conserve relevance: the rest of the series is the bias of the softmax and absorbs `ΣR - Σ R_x`.
    """

    def backward(layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance: Tensor) -> Sequence[Tensor]:
        (x,), dim = inputs, getattr(innermost(layer), "dim", -3)
        shares = x * (relevance - output * relevance.sum(dim, keepdim=True))
        return [torch.where(x == -torch.inf, 0, shares)]  # a masked score takes no part

    return Rule(backward, graph=False, name="softmax")

"""Rules of excitation backprop: how a layer shares a probability among the inputs that excite its outputs.

No share is negative. The shares sum to the relevance of the outputs, except for outputs that no input excites.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product as combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netlens.flat.rules import Rule, vjp
from netlens.rules import relevance
from netlens.rules._relevance_weights import of_sign, redistributed, signed_parts
from netlens.rules.relevance import quotient


def exciting() -> Rule:
    """z⁺ without bias: the positive contributions share the relevance of an output.

    An output without positive contributions is a special case. If the output is negative, its negative contributions
    share its relevance. (This can happen before a tanh, before a GELU, or without an activation function.) If the
    output is positive, it comes from the bias alone. Its relevance then ends there, as in the paper.
    """

    def backward(layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance_: Tensor) -> Sequence[Tensor]:
        x_parts = signed_parts(inputs[0])
        total = of_sign(layer, x_parts, 1, bias=False)
        shares = redistributed(x_parts, total, quotient(relevance_, total, 0))
        if (total == 0).any():
            remaining = _lowered(total, output, relevance_)
            total = of_sign(layer, x_parts, -1, bias=False)
            shares += redistributed(x_parts, total, quotient(remaining, total, 0))
        return [shares]

    return Rule(backward, graph=False, name="exciting")


def _lowered(total: Tensor, output: Tensor, relevance_: Tensor) -> Tensor:
    """The relevance of negative outputs without a positive contribution; 0 for all other outputs."""
    return torch.where((total == 0) & (output < 0), relevance_, 0)


def of_the_same_sign(
    epsilon: float = relevance.STABILIZER, active: Sequence[bool] | None = None, signs: Sequence[int] | None = None
) -> Rule:
    """The terms that have the sign of the sum share its relevance in proportion to their magnitude.

    The rule is for layers without negative coefficients: sums, means, and attention as a function of its values.
    `active` means the same as in `relevance.epsilon`. `signs` are the signs of the terms: (1, -1) for a difference.
    """

    def backward(
        layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance_: Tensor
    ) -> Sequence[Tensor | None]:
        active_inputs = [True] * len(inputs) if active is None else active
        term_signs = [1] * len(inputs) if signs is None else signs
        inputs = [value.detach() for value in inputs]
        shares: list[Tensor | None] = [
            torch.zeros_like(value) if is_active else None
            for value, is_active in zip(inputs, active_inputs, strict=True)
        ]
        for sign in (1, -1):
            signed_relevance = torch.where(sign * output > 0, relevance_, 0)
            if not signed_relevance.any():
                continue
            with torch.enable_grad():
                terms = [
                    (value * (sign * term_sign)).clamp(min=0).requires_grad_() if is_active else value * term_sign
                    for value, is_active, term_sign in zip(inputs, active_inputs, term_signs, strict=True)
                ]
                # `terms` are clamped to be positive; `term_signs` restores the sign that each has in the layer, so a
                # difference adds up
                total = layer(*(value * term_sign for value, term_sign in zip(terms, term_signs, strict=True)))
            gradients = vjp(total, terms, quotient(signed_relevance, total, epsilon))
            for i, (value, gradient) in enumerate(zip(terms, gradients, strict=True)):
                if shares[i] is not None and gradient is not None:
                    shares[i] = shares[i] + value.detach() * gradient  # type: ignore[operator]
        return shares

    return Rule(backward, graph=False, name=f"of_the_same_sign({epsilon:g})")


def product(active: Sequence[bool], bias: int | None = None, raised: bool = False) -> Rule:
    """For a sum of products: the products that have the sign of the sum share its relevance.

    The active factors of a product take equal parts. `bias` is the index of an input that is added to the products; it
    gets no relevance. `raised` says that the layer is a convolution or a linear map. Then positive products share the
    relevance, as in `exciting`.
    """

    def backward(
        layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance_: Tensor
    ) -> Sequence[Tensor | None]:
        factors = _Factors(layer, inputs, active, bias)
        up, total = factors.shares(relevance_ if raised else torch.where(output > 0, relevance_, 0), 1)
        remaining = _lowered(total, output, relevance_) if raised else torch.where(output < 0, relevance_, 0)
        down, _ = factors.shares(remaining, -1)
        return [None if a is None or b is None else a + b for a, b in zip(up, down, strict=True)]

    return Rule(backward, graph=False, name="product")


class _Factors:
    """The positive and the negative part of each factor of a layer. So each product of parts has one sign."""

    def __init__(self, layer: nn.Module, inputs: Sequence[Tensor], active: Sequence[bool], bias: int | None) -> None:
        self.layer, self.active = layer, active
        self.parts: list[dict[int, Tensor]] = []
        for i, (value, is_active) in enumerate(zip(inputs, active, strict=True)):
            value = value.detach()
            if i == bias:
                self.parts.append({1: torch.zeros_like(value)})
                continue
            by_sign = {1: value.clamp(min=0), -1: value.clamp(max=0)}
            by_sign = {sign: part for sign, part in by_sign.items() if part.any()} or {1: by_sign[1]}
            self.parts.append({sign: part.requires_grad_(is_active) for sign, part in by_sign.items()})

    def shares(self, relevance_: Tensor, sign: int) -> tuple[list[Tensor | None], Tensor]:
        """How the active factors share `relevance_` in all products of one sign, and the sum of these products."""
        with torch.enable_grad():
            terms = [self.layer(*chosen) for chosen in self._of_sign(sign)]
            total = sum(terms, torch.zeros_like(relevance_))
        factors = [part for by_sign in self.parts for part in by_sign.values()]
        gradients = iter(vjp(total, factors, quotient(relevance_, total, 0) / sum(self.active)))
        shares: list[Tensor | None] = []
        for by_sign, is_active in zip(self.parts, self.active, strict=True):
            pairs = [(part.detach(), next(gradients)) for part in by_sign.values()]
            products = [part * gradient for part, gradient in pairs if gradient is not None]
            shares.append(sum(products, torch.zeros_like(pairs[0][0])) if is_active else None)
        return shares, total.detach()

    def _of_sign(self, sign: int) -> Iterator[list[Tensor]]:
        for chosen in combinations(*(by_sign.items() for by_sign in self.parts)):
            if math.prod(s for s, _ in chosen) == sign:
                yield [part for _, part in chosen]


def by_gradient(active: Sequence[bool] | None = None) -> Rule:
    """The rule of unknown layers: the inputs share the relevance in proportion to input times gradient, if positive.

    The shares of each sample sum to its relevance.
    """

    def backward(layer: nn.Module, inputs: Sequence[Tensor], output: Any, relevance_: Any) -> Sequence[Tensor | None]:
        # `active` has one entry per argument; if an argument is a tuple of tensors, all tensors take relevance
        active_inputs = active if active is not None and len(active) == len(inputs) else [True] * len(inputs)
        pairs = zip(pytree.tree_leaves(output), pytree.tree_leaves(relevance_), strict=True)
        outputs, relevances = zip(
            *((part, part_relevance) for part, part_relevance in pairs if part_relevance is not None), strict=True
        )
        slopes = vjp(
            outputs,
            inputs,
            tuple(quotient(part_relevance, part, 0) for part_relevance, part in zip(relevances, outputs, strict=True)),
        )
        shares = {
            i: _positive(relevance.contribution(value.detach(), slope))
            for i, (value, slope, is_active) in enumerate(zip(inputs, slopes, active_inputs, strict=True))
            if slope is not None and is_active
        }
        if not shares:
            return [None] * len(inputs)
        # the number of rows is the number of samples, or a multiple of it
        rows = math.gcd(*(len(value) if value.ndim else 1 for value in (*shares.values(), *relevances)))
        received, shared = (
            torch.stack([_real(value).reshape(rows, -1).sum(1) for value in values]).sum(0)
            for values in (relevances, shares.values())
        )
        factors = quotient(received, shared, 0)[:, None]
        scaled = {i: (share.reshape(rows, -1) * factors).view(share.shape) for i, share in shares.items()}
        return [scaled.get(i) for i in range(len(inputs))]

    return Rule(backward, name="by_gradient", several=True)


def _real(value: Tensor) -> Tensor:
    """A tensor of real numbers. A complex number becomes two real numbers, and each has a relevance."""
    return torch.view_as_real(value.resolve_conj()) if value.is_complex() else value


def _positive(shares: Tensor) -> Tensor:
    positive = _real(shares).clamp(min=0)
    return torch.view_as_complex(positive) if shares.is_complex() else positive

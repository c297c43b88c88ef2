"""Rules of excitation backprop: how a layer shares a probability among the inputs that excite its outputs.

No share is below 0, and the shares sum to what the layer got, except where nothing excites an output.
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
from netlens.rules._relevance_weights import of_sign, parts, redistributed
from netlens.rules.relevance import quotient


def exciting() -> Rule:
    """z⁺ without bias: positive contributions share.

    After a tanh, a GELU or no activation function, values below 0 count as well. If nothing raises such a value, the
    contributions that lower it excite it. A value above 0 that nothing raises is its bias alone, so the walk ends
    there, as in the paper.
    """

    def backward(layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance_: Tensor) -> Sequence[Tensor]:
        own = parts(inputs[0])
        total = of_sign(layer, own, 1, bias=False)
        shares = redistributed(own, total, quotient(relevance_, total, 0))
        if (total == 0).any():
            left = _lowered(total, output, relevance_)
            total = of_sign(layer, own, -1, bias=False)
            shares += redistributed(own, total, quotient(left, total, 0))
        return [shares]

    return Rule(backward, graph=False, name="exciting")


def _lowered(total: Tensor, output: Tensor, relevance_: Tensor) -> Tensor:
    """The relevance of values below 0 that nothing raises."""
    return torch.where((total == 0) & (output < 0), relevance_, 0)


def of_the_same_sign(
    epsilon: float = relevance.STABILIZER, active: Sequence[bool] | None = None, signs: Sequence[int] | None = None
) -> Rule:
    """The inputs with the sign of the sum share its relevance in proportion to their size.

    The rule is for layers without negative coefficients: sums, means, and attention over its values. `active` is that
    of `relevance.epsilon`. `signs` are the signs of the terms, (1, -1) for a difference.
    """

    def backward(
        layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance_: Tensor
    ) -> Sequence[Tensor | None]:
        takes = [True] * len(inputs) if active is None else active
        turns = [1] * len(inputs) if signs is None else signs
        inputs = [value.detach() for value in inputs]
        found: list[Tensor | None] = [
            torch.zeros_like(value) if take else None for value, take in zip(inputs, takes, strict=True)
        ]
        for sign in (1, -1):
            mine = torch.where(sign * output > 0, relevance_, 0)
            if not mine.any():
                continue
            with torch.enable_grad():
                own = [
                    (value * (sign * turn)).clamp(min=0).requires_grad_() if take else value * turn
                    for value, take, turn in zip(inputs, takes, turns, strict=True)
                ]
                # in a difference, what counts against it counts for its opposite
                total = layer(*(value * turn for value, turn in zip(own, turns, strict=True)))
            gradients = vjp(total, own, quotient(mine, total, epsilon))
            for i, (value, gradient) in enumerate(zip(own, gradients, strict=True)):
                if found[i] is not None and gradient is not None:
                    found[i] = found[i] + value.detach() * gradient  # type: ignore[operator]
        return found

    return Rule(backward, graph=False, name=f"of_the_same_sign({epsilon:g})")


def product(active: Sequence[bool], bias: int | None = None, raised: bool = False) -> Rule:
    """The products with the sign of their sum share its relevance, and the active factors of each take equal parts.

    `bias` is the index of an input that is added to the products; it takes nothing. `raised` says that the layer is a
    convolution or a linear map, where positive products share, as in `exciting`.
    """

    def backward(
        layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance_: Tensor
    ) -> Sequence[Tensor | None]:
        factors = _Factors(layer, inputs, active, bias)
        up, total = factors.shares(relevance_ if raised else torch.where(output > 0, relevance_, 0), 1)
        left = _lowered(total, output, relevance_) if raised else torch.where(output < 0, relevance_, 0)
        down, _ = factors.shares(left, -1)
        return [None if one is None or other is None else one + other for one, other in zip(up, down, strict=True)]

    return Rule(backward, graph=False, name="product")


class _Factors:
    """The positive and the negative parts of the factors of a layer. Each product of parts has one sign."""

    def __init__(self, layer: nn.Module, inputs: Sequence[Tensor], active: Sequence[bool], bias: int | None) -> None:
        self.layer, self.active = layer, active
        self.sides: list[dict[int, Tensor]] = []
        for i, (value, takes) in enumerate(zip(inputs, active, strict=True)):
            value = value.detach()
            if i == bias:
                self.sides.append({1: torch.zeros_like(value)})
                continue
            own = {1: value.clamp(min=0), -1: value.clamp(max=0)}
            own = {sign: part for sign, part in own.items() if part.any()} or {1: own[1]}
            self.sides.append({sign: part.requires_grad_(takes) for sign, part in own.items()})

    def shares(self, mine: Tensor, sign: int) -> tuple[list[Tensor | None], Tensor]:
        """The shares in `mine` of each active factor in all products of one sign, and the sum of these products."""
        with torch.enable_grad():
            terms = [self.layer(*chosen) for chosen in self._of_sign(sign)]
            total = sum(terms, torch.zeros_like(mine))
        own = [part for side in self.sides for part in side.values()]
        found = iter(vjp(total, own, quotient(mine, total, 0) / sum(self.active)))
        shares: list[Tensor | None] = []
        for side, takes in zip(self.sides, self.active, strict=True):
            parts_ = [(part.detach(), next(found)) for part in side.values()]
            products = [part * gradient for part, gradient in parts_ if gradient is not None]
            shares.append(sum(products, torch.zeros_like(parts_[0][0])) if takes else None)
        return shares, total.detach()

    def _of_sign(self, sign: int) -> Iterator[list[Tensor]]:
        for chosen in combinations(*(side.items() for side in self.sides)):
            if math.prod(one for one, _ in chosen) == sign:
                yield [part for _, part in chosen]


def by_gradient(active: Sequence[bool] | None = None) -> Rule:
    """The rule of unknown layers: input times gradient shares the relevance, where it is positive.

    Each sample passes on as much as it gets.
    """

    def backward(layer: nn.Module, inputs: Sequence[Tensor], output: Any, relevance_: Any) -> Sequence[Tensor | None]:
        # if a layer reads a tuple, all its tensors take relevance
        takes = active if active is not None and len(active) == len(inputs) else [True] * len(inputs)
        pairs = zip(pytree.tree_leaves(output), pytree.tree_leaves(relevance_), strict=True)
        outputs, mine = zip(*((part, own) for part, own in pairs if own is not None), strict=True)
        slopes = vjp(outputs, inputs, tuple(quotient(own, part, 0) for own, part in zip(mine, outputs, strict=True)))
        shares = {
            i: _positive(relevance.contribution(value.detach(), slope))
            for i, (value, slope, take) in enumerate(zip(inputs, slopes, takes, strict=True))
            if slope is not None and take
        }
        if not shares:
            return [None] * len(inputs)
        # the number of rows is the number of samples, or a multiple of it
        rows = math.gcd(*(len(value) if value.ndim else 1 for value in (*shares.values(), *mine)))
        had, have = (
            torch.stack([_real(value).reshape(rows, -1).sum(1) for value in values]).sum(0)
            for values in (mine, shares.values())
        )
        factors = quotient(had, have, 0)[:, None]
        found = {i: (share.reshape(rows, -1) * factors).view(share.shape) for i, share in shares.items()}
        return [found.get(i) for i in range(len(inputs))]

    return Rule(backward, name="by_gradient", several=True)


def _real(value: Tensor) -> Tensor:
    """A tensor as real numbers. A complex number becomes two, and each has its relevance."""
    return torch.view_as_real(value.resolve_conj()) if value.is_complex() else value


def _positive(shares: Tensor) -> Tensor:
    kept = _real(shares).clamp(min=0)
    return torch.view_as_complex(kept) if shares.is_complex() else kept

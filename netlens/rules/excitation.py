"""Excitation backprop as a composite: relevance follows what excites, and stays a probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netlens.flat.layers import Add, Mean, Subtract
from netlens.flat.model import FlatModel
from netlens.flat.program import Step
from netlens.flat.rules import Rule, vjp
from netlens.rules import relevance
from netlens.rules.composites import Composite
from netlens.rules.relevance_layers import Role, role_of

_AVERAGES = nn.modules.pooling._AvgPoolNd, nn.modules.pooling._AdaptiveAvgPoolNd


@dataclass(frozen=True)
class Excitation(Composite):
    """z⁺ without biases in convolutions and linear layers; in sums, what has the sign of the sum shares.

    Where activations are not negative, as the paper has it, these are the same. Zhang et al. 2016,
    https://arxiv.org/abs/1608.00507
    """

    attention: str = "constant"  # weights of attention are not negative, and so they are probabilities already

    def weights(self, flat: FlatModel, step: Step, first: bool) -> Rule:
        return relevance.z_plus(0, bias=False)  # all terms have one sign: their sum needs no stabilizer

    def mixes(self, layer: nn.Module, takers: Sequence[bool] | None = None) -> Rule:
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            return relevance.passing()
        if isinstance(layer, (Add, Mean, *_AVERAGES)) or role_of(layer) is Role.CONTRACTS:
            return of_the_same_sign(0, takers)
        if isinstance(layer, Subtract) and layer.plain and len(layer.args) == 2:
            return of_the_same_sign(0, takers, (1, -1))
        return relevance.epsilon(self.stabilizer, takers)

    def norms(self) -> Rule:
        return relevance.passing()


def of_the_same_sign(
    epsilon: float = relevance.STABILIZER, active: Sequence[bool] | None = None, signs: Sequence[int] | None = None
) -> Rule:
    """A sum's relevance is shared among the inputs that have its sign, by size; `active` as for `relevance.epsilon`.

    For layers whose coefficients are not negative: sums, means, and the product of attention with its values. Those of
    a difference have the `signs` (1, -1).
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
            gradients = vjp(total, own, relevance.quotient(mine, total, epsilon))
            for i, (value, gradient) in enumerate(zip(own, gradients, strict=True)):
                if found[i] is not None and gradient is not None:
                    found[i] = found[i] + value.detach() * gradient  # type: ignore[operator]
        return found

    return Rule(backward, graph=False, name=f"of_the_same_sign({epsilon:g})")

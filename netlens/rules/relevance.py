"""Rules of layer-wise relevance propagation: how one layer shares the relevance of its output among its inputs.

Each function makes a `Rule` in which relevance takes the place of the gradient. A custom rule is one function:

>>> def twice(layer, inputs, output, relevance):
...     return [2 * relevance for _ in inputs]
>>> doubled = Rule(twice, graph=False)

Bach et al. 2015, https://doi.org/10.1371/journal.pone.0130140 (ε, α-β); Montavon et al. 2017,
https://arxiv.org/abs/1512.02479 (z⁺, zB, w²); Lapuschkin et al. 2019, https://arxiv.org/abs/1902.10178 (flat);
Montavon et al. 2019, https://doi.org/10.1007/978-3-030-28954-6_10 (γ).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netlens.errors import NetLensError
from netlens.flat.operations import is_linear
from netlens.flat.rules import Rule, vjp
from netlens.options import checked
from netlens.rules._relevance_weights import applied, of_sign, redistributed, signed_parts, weights_of

STABILIZER = 1e-6
"""The number that is added to the magnitude of a total before relevance is divided by it."""


def quotient(relevance: Tensor, total: Tensor, epsilon: float = STABILIZER) -> Tensor:
    """Relevance divided by the total, after epsilon is added to the magnitude of the total.

    If epsilon is 0, a total of 0 gives 0.

    >>> quotient(torch.tensor([6.0, 6.0, 6.0]), torch.tensor([2.0, -2.0, 0.0]), epsilon=1).tolist()
    [2.0, -2.0, 6.0]
    """
    if total.is_complex():
        return by_parts(lambda part, part_total: quotient(part, part_total, epsilon), relevance, total)
    if epsilon == 0:
        return torch.where(total == 0, 0, relevance / total)
    total = total.detach()
    raised = torch.copysign(total.new_tensor(epsilon), total).add_(total)
    return torch.div(relevance, raised, out=raised)  # in place, because new memory takes longer than the arithmetic


def by_parts(function: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """A function of real tensors, applied to complex tensors: the real and the imaginary part have a relevance each."""
    return torch.view_as_complex(function(*(torch.view_as_real(value.resolve_conj()) for value in (a, b))))


def contribution(value: Tensor, gradient: Tensor, finite: bool = False) -> Tensor:
    """A value times its gradient. A value of 0 gives 0, even if the gradient is infinite, as the gradient of a root.

    `finite` says that all gradients are finite, which saves the check.
    """
    if value.is_complex():
        return by_parts(contribution, value, gradient)
    return value * gradient if finite else torch.where(value == 0, 0, value * gradient)


def per_unit(relevance: Tensor, raised: Tensor, epsilon: float) -> Tensor:
    """Relevance divided by `raised`, a total that already includes epsilon. The result overwrites `raised`."""
    if epsilon == 0:
        return quotient(relevance, raised, 0)
    raised = raised.detach()
    return torch.div(relevance, raised, out=raised)


def passing(to: int = 0) -> Rule:
    """All relevance passes unchanged to the input with the index `to`. For activation functions and norms."""

    def backward(
        layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance: Tensor
    ) -> Sequence[Tensor | None]:
        return [relevance.sum_to_size(value.shape) if i == to else None for i, value in enumerate(inputs)]

    return Rule(backward, graph=False, name="pass")


def epsilon(epsilon: float = STABILIZER, active: Sequence[bool] | None = None) -> Rule:
    """LRP-ε: the share of an input is its contribution to the output, `a_i * w_i / (Σ a * w + b)`.

    The bias keeps its share of the relevance. The rule fits every layer that is linear in its inputs, such as sums,
    means and affine norms. For any other layer, the contribution is the gradient times the input, and it is divided by
    the output as well. With epsilon=0, the rule is LRP-0.

    Args:
        epsilon: The number that is added to the magnitude of the output, at least 0.
        active: For each input, whether it takes relevance. The output counts as the product of the active inputs, and
            each takes an equal part (the product rule of AttnLRP, https://arxiv.org/abs/2402.05602). None: the inputs
            are terms of a sum, and all of them are active.
    """

    def backward(
        layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance: Tensor
    ) -> Sequence[Tensor | None]:
        factors = 1 if active is None else sum(active)

        def unit(part: Tensor, of_part: Tensor | None) -> Tensor | None:
            return None if of_part is None else quotient(of_part, factors * part, epsilon)

        gradients = vjp(output, inputs, pytree.tree_map(unit, output, relevance))
        active_inputs = [True] * len(inputs) if active is None else active
        finite = is_linear(layer)
        return [
            contribution(value, gradient, finite) if gradient is not None and is_active else None
            for value, gradient, is_active in zip(inputs, gradients, active_inputs, strict=True)
        ]

    return Rule(backward, name=f"epsilon({epsilon:g})", several=True)


def z_plus(epsilon: float = STABILIZER, bias: bool = True) -> Rule:
    """z⁺: only positive contributions take relevance. It is α-β with alpha=1 and beta=0.

    A negative input times a negative weight is a positive contribution, too. If `bias` is True, a positive bias keeps
    its share. If it is False, the rule is the one of excitation backprop.
    """

    def backward(layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance: Tensor) -> Sequence[Tensor]:
        x_parts = signed_parts(inputs[0])
        total = of_sign(layer, x_parts, 1, bias, epsilon)
        return [redistributed(x_parts, total, per_unit(relevance, total, epsilon))]

    return Rule(backward, graph=False, name=f"z_plus({epsilon:g})")


def alpha_beta(alpha: float = 2.0, beta: float = 1.0, epsilon: float = STABILIZER) -> Rule:
    """α-β: positive contributions get `alpha` times the relevance, and negative contributions get -`beta` times it.

    Raises:
        NetLensError: If alpha - beta is not 1, or one of them is below 0.
    """
    alpha, beta = checked("alpha", alpha, float, least=0), checked("beta", beta, float, least=0)
    if abs(alpha - beta - 1) > 1e-9:
        raise NetLensError(f"alpha - beta must be 1, not {alpha:g} - {beta:g}.")

    def backward(layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance: Tensor) -> Sequence[Tensor]:
        x_parts = signed_parts(inputs[0])
        shares = []
        for factor, sign in ((alpha, 1), (-beta, -1)):
            if factor != 0:
                total = of_sign(layer, x_parts, sign, epsilon=epsilon)
                shares.append(redistributed(x_parts, total, factor * per_unit(relevance, total, epsilon)))
        return [shares[0] + shares[1] if len(shares) == 2 else shares[0]]

    return Rule(backward, graph=False, name=f"alpha_beta({alpha:g}, {beta:g}, {epsilon:g})")


def gamma(gamma: float = 0.25, epsilon: float = STABILIZER) -> Rule:
    """LRP-γ: contributions with the sign of the output are multiplied by `1 + gamma`. Inputs may have either sign."""

    def backward(layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance: Tensor) -> Sequence[Tensor]:
        x_parts = signed_parts(inputs[0])
        positive = of_sign(layer, x_parts, 1)
        # the negative contributions are the output minus the positive contributions, which saves a run of the layer
        up, down = output + gamma * positive, output + gamma * (output - positive)
        up = torch.where(output > 0, quotient(relevance, up, epsilon), 0)
        down = torch.where(output < 0, quotient(relevance, down, epsilon), 0)
        (gradient,) = vjp(output, inputs[:1], up + (1 + gamma) * down)
        assert gradient is not None
        return [inputs[0] * gradient + redistributed(x_parts, positive, gamma * (up - down))]

    return Rule(backward, name=f"gamma({gamma:g}, {epsilon:g})")


def z_box(low: Tensor | float, high: Tensor | float, epsilon: float = STABILIZER) -> Rule:
    """zB, for inputs between two bounds, such as pixels.

    `low` and `high` are numbers, or tensors that broadcast to the input of the layer.
    """

    def backward(layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance: Tensor) -> Sequence[Tensor]:
        weight, _ = weights_of(layer)
        with torch.enable_grad():
            x = inputs[0].detach()
            box = [torch.as_tensor(bound).to(x).expand_as(x) for bound in (low, high)]
            x, lowest, highest = (value.clone().requires_grad_() for value in (x, *box))
            total = applied(layer, x, weight)
            total = total - applied(layer, lowest, weight.clamp(min=0)) - applied(layer, highest, weight.clamp(max=0))
        return [redistributed((x, lowest, highest), total, quotient(relevance, total, epsilon))]

    return Rule(backward, graph=False, name=f"z_box({epsilon:g})")


def flat(epsilon: float = STABILIZER) -> Rule:
    """Flat: all inputs of an output get equal shares, whatever their values and weights."""
    return _of_weights(torch.ones_like, False, epsilon, f"flat({epsilon:g})")


def w_square(epsilon: float = STABILIZER) -> Rule:
    """w²: the share of an input is proportional to the square of its weight. Its value does not count.

    The bias keeps its share.
    """
    return _of_weights(torch.square, True, epsilon, f"w_square({epsilon:g})")


def _of_weights(change: Callable[[Tensor], Tensor], bias: bool, epsilon: float, name: str) -> Rule:
    def backward(layer: nn.Module, inputs: Sequence[Tensor], output: Tensor, relevance: Tensor) -> Sequence[Tensor]:
        weight, shift = weights_of(layer)
        with torch.enable_grad():
            ones = [torch.ones_like(inputs[0]).requires_grad_()]
            total = applied(layer, ones[0], change(weight), change(shift) if bias and shift is not None else None)
        return [redistributed(ones, total, quotient(relevance, total, epsilon))]

    return Rule(backward, graph=False, name=name)

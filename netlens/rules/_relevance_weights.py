"""Linear layers that run with changed weights, for the rules of relevance that change weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.errors import NetLensError
from netlens.flat.layers import CONVOLUTIONS, TRANSPOSED

_FORWARDS = {nn.Linear.forward, *(kind.forward for kind in CONVOLUTIONS)}
_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def has_weights(layer: nn.Module) -> bool:
    """Whether a layer is a linear layer or a (transposed) convolution of torch with torch's own forward."""
    return type(layer).forward in _FORWARDS


def weights_of(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """The weight and bias of a convolution or linear layer. Any other layer raises `NetLensError`."""
    if not has_weights(layer):
        raise NetLensError(
            f"a rule that changes weights needs a convolution or linear layer, not {type(layer).__name__}; "
            "use relevance.epsilon() for this layer."
        )
    return layer.weight, layer.bias  # type: ignore[return-value]


def applied(layer: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The output of the layer with another weight and bias."""
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, bias)
    if isinstance(layer, TRANSPOSED):
        places: Any = layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation
        return _TRANSPOSE[weight.ndim - 2](x, weight, bias, *places)
    output: Tensor = layer._conv_forward(x, weight, bias)  # type: ignore[operator]
    return output


def signed_parts(x: Tensor) -> list[Tensor]:
    """The positive and the negative part of an input. Both require gradients.

    If no value is negative, the list holds the positive part only.
    """
    if bool(x.amin() >= 0):  # as after a ReLU: without a negative part, one run of the layer is saved
        return [x.detach().requires_grad_()]
    return [x.detach().clamp(min=0).requires_grad_(), x.detach().clamp(max=0).requires_grad_()]


def of_sign(layer: nn.Module, x_parts: Sequence[Tensor], sign: int, bias: bool = True, epsilon: float = 0.0) -> Tensor:
    """The sum of all contributions of one sign (1 or -1): of an input, given by its `signed_parts`, and of the bias.

    Epsilon is added to the magnitude of the sum. It is added to the bias, which is faster than to add it to the sum.
    """
    weight, shift = weights_of(layer)
    offset = _half(shift, sign) if bias and shift is not None else None
    if epsilon:
        offset = weight.new_zeros(_outputs(layer)) if offset is None else offset
        offset = offset + sign * epsilon
    with torch.enable_grad():
        total = applied(layer, x_parts[0], _half(weight, sign), offset)
        return total + applied(layer, x_parts[1], _half(weight, -sign)) if len(x_parts) == 2 else total


def redistributed(inputs: Sequence[Tensor], total: Tensor, per_unit: Tensor) -> Tensor:
    """The relevance of an input: its value times the gradient of `total`, where `per_unit` is the gradient at `total`.

    `inputs` are the tensors from which `total` was computed. Their shares are added.
    """
    gradients = torch.autograd.grad(total, list(inputs), per_unit, retain_graph=True)
    # nothing else reads the gradients of a convolution or linear layer, so they may be overwritten
    shares = [gradient.mul_(value.detach()) for value, gradient in zip(inputs, gradients, strict=True)]
    for share in shares[1:]:
        shares[0] += share
    return shares[0]


def _outputs(layer: nn.Module) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels  # type: ignore[return-value]


def _half(weight: Tensor, sign: int) -> Tensor:
    return weight.clamp(min=0) if sign > 0 else weight.clamp(max=0)

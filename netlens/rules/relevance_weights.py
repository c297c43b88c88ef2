"""Layers that are linear in their input, run with other weights: what the weight-changing rules of relevance share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netlens.errors import NetLensError

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_FORWARDS = {nn.Linear.forward, *(kind.forward for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED))}
_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def has_weights(layer: nn.Module) -> bool:
    """Whether a layer is a convolution, plain or transposed, or linear, and computes as these do."""
    return type(layer).forward in _FORWARDS


def weights_of(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """The weight and bias of a convolution or linear layer; an error for any other."""
    if not has_weights(layer):
        raise NetLensError(
            f"a rule that changes weights needs a convolution or linear layer, not {type(layer).__name__}; "
            "give this layer relevance.epsilon()."
        )
    return layer.weight, layer.bias  # type: ignore[return-value]


def applied(layer: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What the layer would compute with another weight and bias."""
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, bias)
    if isinstance(layer, _TRANSPOSED):
        places: Any = layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation
        return _TRANSPOSE[weight.ndim - 2](x, weight, bias, *places)
    return layer._conv_forward(x, weight, bias)  # type: ignore[operator]


def parts(x: Tensor) -> list[Tensor]:
    """The positive and the negative part of an input, from which gradients are taken; the first alone if it is all."""
    if bool(x.amin() >= 0):  # as after a rectifier: one pass is spared, and nothing changes
        return [x.detach().requires_grad_()]
    return [x.detach().clamp(min=0).requires_grad_(), x.detach().clamp(max=0).requires_grad_()]


def of_sign(layer: nn.Module, own: Sequence[Tensor], sign: int, bias: bool = True, epsilon: float = 0.0) -> Tensor:
    """The sum of the positive (sign 1) or negative (-1) contributions of the `parts` of an input and of the bias.

    Its magnitude is raised by epsilon, which costs no pass over the sums where a bias can bring it.
    """
    weight, shift = weights_of(layer)
    offset = _half(shift, sign) if bias and shift is not None else None
    if epsilon:
        offset = weight.new_zeros(_outputs(layer)) if offset is None else offset
        offset = offset + sign * epsilon
    with torch.enable_grad():
        total = applied(layer, own[0], _half(weight, sign), offset)
        return total + applied(layer, own[1], _half(weight, -sign)) if len(own) == 2 else total


def redistributed(own: Sequence[Tensor], total: Tensor, per_unit: Tensor) -> Tensor:
    """Relevance per unit of the total, brought back to the inputs that the total was computed from, and summed."""
    gradients = torch.autograd.grad(total, list(own), per_unit, retain_graph=True)
    # the gradients of a convolution or linear layer are nobody else's, so they may be written over
    shares = [gradient.mul_(value.detach()) for value, gradient in zip(own, gradients, strict=True)]
    for share in shares[1:]:
        shares[0] += share
    return shares[0]


def _outputs(layer: nn.Module) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels  # type: ignore[return-value]


def _half(weight: Tensor, sign: int) -> Tensor:
    return weight.clamp(min=0) if sign > 0 else weight.clamp(max=0)

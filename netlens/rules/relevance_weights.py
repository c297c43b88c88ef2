"""Linear layers run with other weights, for the rules of relevance that change weights."""

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
    """Whether a layer is linear or a (transposed) convolution of torch, with the forward of that type."""
    return type(layer).forward in _FORWARDS


def weights_of(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """The weight and bias of a convolution or linear layer. Any other layer raises `NetLensError`."""
    if not has_weights(layer):
        raise NetLensError(
            f"a rule that changes weights needs a convolution or linear layer, not {type(layer).__name__}; "
            "give this layer relevance.epsilon()."
        )
    return layer.weight, layer.bias  # type: ignore[return-value]


def applied(layer: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The output of the layer with another weight and bias."""
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, bias)
    if isinstance(layer, _TRANSPOSED):
        places: Any = layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation
        return _TRANSPOSE[weight.ndim - 2](x, weight, bias, *places)
    output: Tensor = layer._conv_forward(x, weight, bias)  # type: ignore[operator]
    return output


def parts(x: Tensor) -> list[Tensor]:
    """The positive and the negative part of an input, which require gradients; the first alone if it is everything."""
    if bool(x.amin() >= 0):  # after a rectifier, for example: this saves one pass and gives the same
        return [x.detach().requires_grad_()]
    return [x.detach().clamp(min=0).requires_grad_(), x.detach().clamp(max=0).requires_grad_()]


def of_sign(layer: nn.Module, own: Sequence[Tensor], sign: int, bias: bool = True, epsilon: float = 0.0) -> Tensor:
    """The sum of the positive (sign 1) or negative (-1) contributions of the `parts` of an input and of the bias.

    Its magnitude grows by epsilon. The bias brings this epsilon, so it costs no pass over the sums.
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
    """The relevance of the inputs from which a total was computed, from the relevance per unit of the total."""
    gradients = torch.autograd.grad(total, list(own), per_unit, retain_graph=True)
    # nothing else reads the gradients of a convolution or linear layer, so they are overwritten
    shares = [gradient.mul_(value.detach()) for value, gradient in zip(own, gradients, strict=True)]
    for share in shares[1:]:
        shares[0] += share
    return shares[0]


def _outputs(layer: nn.Module) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels  # type: ignore[return-value]


def _half(weight: Tensor, sign: int) -> Tensor:
    return weight.clamp(min=0) if sign > 0 else weight.clamp(max=0)

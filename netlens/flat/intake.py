"""What a network takes, and whether a tensor fits it: one input, of its type, on its device, with finite numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from netlens.errors import NetLensError, NotApplicable
from netlens.flat._unrolled import Unrolled
from netlens.flat.operations import Trait, innermost, operation_of
from netlens.preprocessing import check_finite

_KEEPS_CHANNELS = Trait.ELEMENTWISE | Trait.KEEPS | Trait.PER_CHANNEL | Trait.MEETS


def weight_of(network: nn.Module, otherwise: Tensor) -> Tensor:
    """A weight of the network, whose type and device an input must have; `otherwise` if the network has no weight."""
    return next((weights for weights in network.parameters() if weights.is_floating_point()), otherwise)


def channels_of(flat: Unrolled) -> int | None:
    """The number of input channels of the first convolution that reads an input; None if no convolution reads one.

    Arithmetic with numbers and paddings may come before the convolution, as in a network that normalizes its input.
    """
    alike = set(flat.inputs)
    for step in flat.program.steps:
        if step.hidden or alike.isdisjoint(step.reads):
            continue
        layer = innermost(step.layer)
        if isinstance(layer, nn.Conv2d):
            return layer.in_channels
        if set(step.reads) <= alike and operation_of(layer).has(_KEEPS_CHANNELS):
            alike.add(step.key)
    return None


def fitted(network: nn.Module, x: Tensor, copy: bool = False) -> Tensor:
    """The tensor with the type and on the device of the network. With `copy`, in memory of its own."""
    weights = weight_of(network, x)
    return x.detach().to(device=weights.device, dtype=weights.dtype, copy=copy)


def check_fits(flat: Unrolled, x: Any) -> None:
    """Raise if `x` is no input of the network.

    Raises:
        NetLensError: x is no batch (N, ...) of real numbers, or has another type or device than the weights.
        NotApplicable: The network has several inputs.
        NonFiniteError: x holds NaN or Inf.
    """
    if not isinstance(x, Tensor) or x.ndim < 2 or len(x) < 1 or not x.is_floating_point():
        kind = f"a tensor {tuple(x.shape)} of {x.dtype}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        raise NetLensError(f"{flat.name} takes a batch (N, ...) of real numbers, not {kind}.")
    check_one_input(flat)
    check_type(flat, x)
    # torch takes (C, H, W) as one image without an error, and later code would take its channels for samples
    if x.ndim == 3 and channels_of(flat) is not None:
        raise NetLensError(f"{flat.name} takes images (N, C, H, W), not {tuple(x.shape)}; for one image pass x[None].")
    check_finite(x)


def check_one_input(flat: Unrolled) -> None:
    """Raise `NotApplicable` if the network has several inputs."""
    if len(flat.inputs) != 1:
        raise NotApplicable(f"this takes a network of one input; {flat.name} has {', '.join(flat.inputs)}.")


def check_type(flat: Unrolled, x: Tensor, what: str = "the input") -> None:
    """Raise if the type or the device of `x` does not fit the network. The error of torch is less clear."""
    weights = weight_of(flat, x)
    if weights.device != x.device or (weights.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type)):
        raise NetLensError(
            f"{what} is {x.dtype} on {x.device}, but {flat.name} is {weights.dtype} on {weights.device}; "
            "bring one to the other with .to(...)."
        )
    if weights is not x and weights.is_inference():
        raise NetLensError(
            f"{flat.name} was made under torch.inference_mode(), so it has no gradients; make it outside of that mode."
        )

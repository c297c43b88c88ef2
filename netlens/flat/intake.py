"""The inputs that a network takes: their type, device and number of channels."""

from __future__ import annotations

from torch import Tensor, nn

from netlens.flat._unrolled import Unrolled


def weight_of(network: nn.Module, otherwise: Tensor) -> Tensor:
    """A weight of the network, whose type and device an input must have; `otherwise` if the network has no weight."""
    return next((weights for weights in network.parameters() if weights.is_floating_point()), otherwise)


def channels_of(flat: Unrolled) -> int | None:
    """The number of input channels of the first convolution that reads an input; None if no convolution reads one."""
    readers = (step.layer for step in flat.program.steps if not set(step.reads).isdisjoint(flat.inputs))
    return next((layer.in_channels for layer in readers if isinstance(layer, nn.Conv2d)), None)

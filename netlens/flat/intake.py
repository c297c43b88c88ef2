"""The intake of a network: of which type, on which device and of how many channels what it takes has to be."""

from __future__ import annotations

from torch import Tensor, nn

from netlens.flat.unrolled import Unrolled


def weight_of(network: nn.Module, otherwise: Tensor) -> Tensor:
    """One of the network's weights, for its type and device; `otherwise` where it has none."""
    return next((weights for weights in network.parameters() if weights.is_floating_point()), otherwise)


def channels_of(flat: Unrolled) -> int | None:
    """How many channels the convolutions that read the input take; None where there are none."""
    readers = (step.layer for step in flat.program.steps if not set(step.reads).isdisjoint(flat.inputs))
    return next((layer.in_channels for layer in readers if isinstance(layer, nn.Conv2d)), None)

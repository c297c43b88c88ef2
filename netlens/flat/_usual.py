"""The example along which a network is unrolled, if nobody gives one: noise of the shape that its family takes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from netlens.errors import TraceError
from netlens.flat.intake import weight_of
from netlens.flat.tracing import Source, Unrolling, example_of

_SEED = 0


def source_along(
    network: nn.Module,
    unroll: Callable[[Mapping[str, Any] | None], Unrolling],
    example: Any,
    usual: tuple[int, ...] | None,
) -> Source:
    """Unroll a network along an example; without one along noise; and if there is no shape for it, along nothing.

    Args:
        network: The network.
        unroll: A function that unrolls the network, along inputs by name if it gets them.
        example: The example of the user, or None.
        usual: The shape of an input that networks of the family take, or None.
    """
    if example is not None:
        return Source(network, unroll, example_of(network, example))
    if usual is not None:
        # a network may take other inputs than its family: one channel, another size, several inputs
        with contextlib.suppress(TraceError):
            return Source(network, unroll, example_of(network, _noise(network, usual)))
    return Source(network, unroll, None)


def _noise(network: nn.Module, shape: tuple[int, ...]) -> Tensor:
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(_SEED))
    weights = weight_of(network, noise)
    return noise.to(weights.device, weights.dtype)

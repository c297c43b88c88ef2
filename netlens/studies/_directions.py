"""Directions in the space of weights: random, with filters as long as those of the network (Li et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def filter_normalized(module: nn.Module, seed: int) -> dict[str, Tensor]:
    """A random direction for each parameter, whose filters have the norms of the filters of the network.

    A filter is what makes one output channel: a row of a weight in its first dimension. Biases and the weights of norms
    are vectors, and their direction is 0, as in the paper.

    Args:
        module: The network. Only floating point parameters get a direction.
        seed: The seed of the normal numbers.

    Returns:
        The directions by the name of the parameter, on its device.
    """
    generator = torch.Generator().manual_seed(seed)
    directions = {}
    for name, parameter in module.named_parameters():
        if not parameter.is_floating_point():
            continue
        # drawn for all parameters, so that the direction of one does not depend on what others are
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        if parameter.ndim < 2:
            directions[name] = torch.zeros_like(parameter)
            continue
        wanted = _norms(parameter.detach().cpu().double())
        norms = _norms(noise)
        scaled = noise * (wanted / torch.where(norms > 0, norms, torch.ones_like(norms)))
        directions[name] = scaled.to(parameter)
    return directions


def _norms(weight: Tensor) -> Tensor:
    """The norm of each filter, in a shape that multiplies the weight."""
    norms: Tensor = torch.linalg.vector_norm(weight.flatten(1), dim=1)
    return norms.view(-1, *[1] * (weight.ndim - 1))

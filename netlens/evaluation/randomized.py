"""Networks with random weights that leave nothing at zero or one, where mistakes would hide."""

from __future__ import annotations

import copy

import torch
from torch import nn


def randomized(network: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of `network` in eval mode, randomized as by `randomize_`."""
    return randomize_(copy.deepcopy(network), seed)


def randomize_(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give `network` itself, set to eval mode, random parameters and buffers at scales that keep activations alive.

    Weights are normal with variance 2 / fan-in; biases, shifts and running means are not 0, scales and running
    variances not 1, and heads that start at zero do not stay there. Deterministic in `seed`.
    """
    network.eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            if tensor.is_floating_point() and "coords_table" not in name:
                noise = torch.randn(tensor.shape, generator=generator)
                tensor.copy_(_spread(name.rsplit(".", 1)[-1], noise))
    return network


def _spread(name: str, noise: torch.Tensor) -> torch.Tensor:
    if name == "running_var":
        return 0.5 + noise.abs()
    if name == "logit_scale":
        return 2 + 0.1 * noise
    if noise.ndim > 1:
        return noise * (2 / noise[0].numel()) ** 0.5
    if name.endswith("weight"):
        return 1 + 0.1 * noise
    return 0.1 * noise

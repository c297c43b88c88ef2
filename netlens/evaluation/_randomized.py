"""Networks with random weights, for tests. No weight is 0 or 1, because a 0 or 1 can hide a mistake."""

from __future__ import annotations

import copy

import torch
from torch import nn


def randomized(network: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of a network in eval mode, with the random weights of `randomize_`.

    Args:
        network: The network, which does not change.
        seed: The seed of the random numbers.

    Example:
        >>> network = nn.Linear(2, 3)
        >>> first, again, other = (randomized(network, seed).weight for seed in (0, 0, 1))
        >>> torch.equal(first, again), torch.equal(first, other), torch.equal(first, network.weight)
        (True, False, False)
    """
    return randomize_(copy.deepcopy(network), seed)


def randomize_(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give a network random parameters and buffers, in place, and set it to eval mode.

    Weights are normal with a variance of 2 / fan-in, so that activations keep their scale. Biases, shifts and running
    means are not 0, and scales and running variances are not 1. The same seed gives the same network.

    Args:
        network: The network, which changes.
        seed: The seed of the random numbers.

    Returns:
        The same network.

    Example:
        >>> network = randomize_(nn.BatchNorm2d(4))
        >>> bool((network.running_mean != 0).all()), network.training
        (True, False)
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
    """The noise, shifted and scaled for a tensor with this name."""
    if name == "running_var":
        return 0.5 + noise.abs()
    if name == "logit_scale":
        return 2 + 0.1 * noise
    if noise.ndim > 1 and noise.numel() > 0:
        weights: torch.Tensor = noise * (2 / noise[0].numel()) ** 0.5
        return weights
    if name.endswith("weight") or name == "scale":  # the scale of an affine layer that is no norm
        return 1 + 0.1 * noise
    return 0.1 * noise

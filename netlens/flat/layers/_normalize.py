"""Normalization of the input as a layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class Normalize(nn.Module):
    """Normalize each channel: `(x - mean) / std`. With this layer as the first one, a network takes images in [0, 1].

    Maps (N, C, H, W) keep their shape.

    Args:
        mean: The mean of each of C channels.
        std: The standard deviation of each channel, above 0.

    Example:
        >>> import torch
        >>> Normalize((0.5,), (0.25,))(torch.ones(1, 1, 2, 2)).flatten().tolist()
        [2.0, 2.0, 2.0, 2.0]
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # Python's numbers have double precision, which a float64 network needs, and they work on every device
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.new_tensor(self.mean).view(-1, 1, 1)) / x.new_tensor(self.std).view(-1, 1, 1)

    def extra_repr(self) -> str:
        return f"mean={list(self.mean)}, std={list(self.std)}"

"""Random weights let the numbers of the input through, whatever a layer is made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netlens.evaluation import randomized


class Affine(nn.Module):
    """A learned scale and bias, as some networks have behind each convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.bias = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.bias


def test_many_learned_scales_let_a_change_through() -> None:
    """Scales of the size of a bias would make it vanish below the rounding of single precision."""
    x = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    network = randomized(nn.Sequential(*[Affine() for _ in range(24)]))
    change = network(x) - network(torch.zeros_like(x))
    assert change.abs().mean() > 0.01 * x.abs().mean()
    assert all(layer.scale.item() != 1 for layer in network)

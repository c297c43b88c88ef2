"""Layers whose weights a network computes from parameters, such as weight-standardized convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Recipe(nn.Module):
    """A tensor that follows from parameters and constants alone, in a few steps.

    Args:
        parts: The layers of the steps, in order. The output of the last one is the tensor.
        reads: For each step, the indices of the steps whose outputs it reads.
    """

    def __init__(self, parts: Sequence[nn.Module], reads: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.reads = tuple(tuple(indices) for indices in reads)

    def forward(self) -> Tensor:
        values: list[Any] = []
        for layer, indices in zip(self.parts, self.reads, strict=True):
            values.append(layer(*(values[index] for index in indices)))
        tensor: Tensor = values[-1]
        return tensor


class Computed(nn.Module):
    """Abstract: a convolution or linear layer whose weight or bias is computed anew whenever it is read.

    Attributes:
        recipes: How the weight, the bias or both are computed, by name.
    """

    recipes: nn.ModuleDict

    @property
    def weight(self) -> Tensor:
        weight = self._tensor("weight")
        assert weight is not None
        return weight

    @property
    def bias(self) -> Tensor | None:
        return self._tensor("bias")

    def _tensor(self, name: str) -> Tensor | None:
        tensor: Tensor | None = self.recipes[name]() if name in self.recipes else self._parameters[name]
        return tensor


TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
"""The transposed convolutions. The first dimension of their weights is that of the inputs."""
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
"""The convolutions."""

# a type for each, so that whoever asks for a `Conv2d` finds it; by name in this module, so that it can be pickled
_KINDS: dict[type[nn.Module], type[nn.Module]] = {
    kind: type(f"Computed{kind.__name__}", (Computed, kind), {"__module__": __name__})
    for kind in (nn.Linear, *CONVOLUTIONS)
}
globals().update({kind.__name__: kind for kind in _KINDS.values()})


def computed(layer: nn.Module, recipes: Mapping[str, Recipe]) -> nn.Module:
    """The same convolution or linear layer, which now computes its weight, its bias or both by these recipes."""
    if recipes:
        for name in recipes:
            layer._parameters.pop(name)
        layer.__class__ = _KINDS[type(layer)]
        layer.recipes = nn.ModuleDict(dict(recipes))
    return layer


def evaluated(layer: Computed) -> nn.Module:
    """A plain layer with the weight and bias that the recipes of this one give now."""
    with torch.no_grad():
        tensors = {"weight": layer.weight, "bias": layer.bias}
    plain: nn.Module = object.__new__(type(layer).__mro__[2])
    plain.__dict__.update(layer.__dict__)
    plain._modules = {}
    plain._parameters = {
        name: None if tensor is None else nn.Parameter(tensor, requires_grad=False) for name, tensor in tensors.items()
    }
    return plain

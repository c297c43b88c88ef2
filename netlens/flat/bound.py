"""A layer that is bound to its inputs other than tensors, so that a rule can call it with tensors alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netlens.flat.layers import Wrapper


class Bound(Wrapper):
    """A layer that is bound to its other inputs (sizes, indices, tuples), so that it takes tensors alone.

    Args:
        layer: The layer.
        leaves: All inputs, flattened.
        structure: The structure of the inputs.
    """

    def __init__(self, layer: nn.Module, leaves: Sequence[Any], structure: pytree.TreeSpec) -> None:
        super().__init__()
        self.layer = layer
        self.leaves = [None if isinstance(value, Tensor) else value for value in leaves]
        self.places = [i for i, value in enumerate(leaves) if isinstance(value, Tensor)]
        self.structure = structure

    @property
    def inner(self) -> nn.Module:
        return self.layer

    def reads(self, tensors: Sequence[Tensor]) -> tuple[Any, ...]:
        """All inputs of the layer in their structure, with these tensors in their places."""
        leaves = list(self.leaves)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = tensor
        values: tuple[Any, ...] = pytree.tree_unflatten(leaves, self.structure)
        return values

    def forward(self, *tensors: Tensor) -> Any:
        return self.layer(*self.reads(tensors))

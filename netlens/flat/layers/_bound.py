"""A layer that stores all inputs that are not tensors, so that a rule can call it with tensors only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netlens.flat.layers._calls import Wrapper


class Bound(Wrapper):
    """A layer that stores all inputs that are not tensors (sizes, indices, tuples) and is called with tensors only.

    Args:
        layer: The layer.
        leaves: All inputs, flattened.
        structure: The structure of the inputs.
    """

    def __init__(self, layer: nn.Module, leaves: Sequence[Any], structure: pytree.TreeSpec) -> None:
        super().__init__()
        self.layer = layer
        self.leaves = [None if isinstance(value, Tensor) else value for value in leaves]
        self.indices = [i for i, value in enumerate(leaves) if isinstance(value, Tensor)]
        self.structure = structure

    @property
    def inner(self) -> nn.Module:
        return self.layer

    def reads(self, tensors: Sequence[Tensor]) -> tuple[Any, ...]:
        """All inputs of the layer in their structure: the stored ones and these tensors."""
        leaves = list(self.leaves)
        for index, tensor in zip(self.indices, tensors, strict=True):
            leaves[index] = tensor
        values: tuple[Any, ...] = pytree.tree_unflatten(leaves, self.structure)
        return values

    def forward(self, *tensors: Tensor) -> Any:
        return self.layer(*self.reads(tensors))

"""A layer bound to all that it read but tensors, as rules call it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netlens.flat.layers import Wrapper


class Bound(Wrapper):
    """A layer with all that it read but tensors (sizes, indices, tuples), so that it is called with tensors alone."""

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
        """All that the layer reads, with these tensors in their places."""
        leaves = list(self.leaves)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = tensor
        return pytree.tree_unflatten(leaves, self.structure)

    def forward(self, *tensors: Tensor) -> Any:
        return self.layer(*self.reads(tensors))

"""Writes into views as pure layers: the base with a new part, and a view that is taken again."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Scatter(nn.Module):
    """A copy of a base tensor (or of a tuple of tensors) in which the part behind a view holds a new value.

    An in-place operation on a view changes the tensor behind the view. This layer is that change as a pure function.
    If `view` makes a copy, the base keeps its values. Inputs: the base, the new value, then the other inputs of `view`.

    Args:
        view: The layer that makes the view.
    """

    def __init__(self, view: nn.Module) -> None:
        super().__init__()
        self.view = view

    def forward(self, base: Any, value: Any, *others: Any) -> Any:
        clone = base.clone() if isinstance(base, Tensor) else tuple(part.clone() for part in base)
        view = self.view(clone, *others)
        if isinstance(view, Tensor):
            view.copy_(value)
        else:
            for part, new_part in zip(view, value, strict=True):
                (_single_view(clone, part) if isinstance(clone, Tensor) else part).copy_(new_part)
        return clone


def _single_view(base: Tensor, part: Tensor) -> Tensor:
    """A view of `base` at the place of `part`, one of several views from one call.

    Autograd allows in-place operations on such a view, but not on one of several views from one call. If `part` is a
    copy, the result is a copy, too, so that writing into it leaves the base as it is.
    """
    if not _storages(part) & _storages(base):
        return part.detach().clone()
    return base.as_strided(part.shape, part.stride(), part.storage_offset())


class Again(nn.Module):
    """A view that is taken again after its base has changed.

    Some operations (`reshape`, `contiguous`, `to`, indexing) make a view of some inputs and a copy of others. A copy
    keeps its earlier value. Inputs: the earlier value, then the inputs of `view`, its base first.

    Args:
        view: The layer that makes the view.
    """

    def __init__(self, view: nn.Module) -> None:
        super().__init__()
        self.view = view

    def forward(self, value: Any, base: Any, *others: Any) -> Any:
        view = self.view(base, *others)
        return view if _storages(view) & _storages(base) else value


def _storages(value: Any) -> set[int]:
    """The addresses of the storages of a tensor, or of all tensors in a tuple."""
    tensors = [value] if isinstance(value, Tensor) else [part for part in value if isinstance(part, Tensor)]
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}

"""Writes into views as pure layers: the base with a new part, and a view that is taken again."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Scatter(nn.Module):
    """A copy of a base tensor (or of a tuple of tensors) in which the values of a view are replaced.

    An in-place operation on a view also changes the base of the view. This layer computes the new base as a pure
    function. If `view` makes a copy instead of a view, the base keeps its values. Inputs: the base, the new values of
    the view, then the other inputs of `view`.

    Args:
        view: The layer that makes the view.
    """

    def __init__(self, view: nn.Module) -> None:
        super().__init__()
        self.view = view

    def forward(self, base: Any, value: Any, *other_inputs: Any) -> Any:
        clone = base.clone() if isinstance(base, Tensor) else tuple(tensor.clone() for tensor in base)
        view = self.view(clone, *other_inputs)
        if isinstance(view, Tensor):
            view.copy_(value)
        else:
            for tensor, new_tensor in zip(view, value, strict=True):
                (_single_view(clone, tensor) if isinstance(clone, Tensor) else tensor).copy_(new_tensor)
        return clone


def _single_view(base: Tensor, view: Tensor) -> Tensor:
    """A new view of `base` on the same values as `view`, which is one of several views from one call.

    Autograd allows in-place operations on the new view, but not on one of several views from one call. If `view` is a
    copy and not a view, the result is a copy, too, so that a change of it does not change the base.
    """
    if not _storages(view) & _storages(base):
        return view.detach().clone()
    return base.as_strided(view.shape, view.stride(), view.storage_offset())


class Again(nn.Module):
    """A view that is taken again after its base has changed.

    Some operations (`reshape`, `contiguous`, `to`, indexing) make a view of some tensors and a copy of others. If the
    operation makes a copy, the output is the earlier value. Inputs: the earlier value, then the inputs of `view`, the
    base first.

    Args:
        view: The layer that makes the view.
    """

    def __init__(self, view: nn.Module) -> None:
        super().__init__()
        self.view = view

    def forward(self, value: Any, base: Any, *other_inputs: Any) -> Any:
        view = self.view(base, *other_inputs)
        return view if _storages(view) & _storages(base) else value


def _storages(value: Any) -> set[int]:
    """The addresses of the storages of a tensor, or of all tensors in a tuple."""
    tensors = [value] if isinstance(value, Tensor) else [item for item in value if isinstance(item, Tensor)]
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}

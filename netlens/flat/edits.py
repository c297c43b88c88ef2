"""Edits of activations in flight, for `Hooks(flat, layer, edit=...)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from netlens.errors import NetLensError

Edit = Callable[[Tensor], Tensor]


def zero(channels: int | Sequence[int], dim: int = 1) -> Edit:
    """Sets channels (along `dim`) to zero.

    >>> zero(0)(torch.ones(1, 2)).tolist()
    [[0.0, 1.0]]
    """
    chosen: list[Any] = [channels] if isinstance(channels, Integral) else list(channels)  # type: ignore[arg-type]

    def edit(activation: Tensor) -> Tensor:
        size = activation.shape[dim]
        wrong = [channel for channel in chosen if not 0 <= channel < size]
        if wrong:
            raise NetLensError(f"there is no channel {wrong[0]}; the layer has channels 0 to {size - 1}.")
        index = torch.tensor(chosen, device=activation.device)
        return activation.index_fill(dim, index, 0)

    return edit


def add(direction: Tensor, scale: float = 1.0, dim: int = 1) -> Edit:
    """Adds `scale * direction`, a vector of one number per channel (along `dim`), at every position.

    >>> add(torch.tensor([1.0, 2.0]), scale=10)(torch.zeros(1, 2)).tolist()
    [[10.0, 20.0]]
    """

    def edit(activation: Tensor) -> Tensor:
        if direction.shape != (activation.shape[dim],):
            raise NetLensError(
                f"the direction has shape {tuple(direction.shape)}; this layer needs ({activation.shape[dim]},)."
            )
        shape = [1] * activation.ndim
        shape[dim] = -1
        return activation + scale * direction.to(activation).view(shape)

    return edit


def substitute(values: Tensor) -> Edit:
    """Puts `values`, broadcast over the batch, in place of the activation.

    >>> substitute(torch.tensor([5.0]))(torch.zeros(2, 1)).tolist()
    [[5.0], [5.0]]
    """

    def edit(activation: Tensor) -> Tensor:
        return values.to(activation).expand_as(activation)

    return edit

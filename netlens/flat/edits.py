"""Edits of activations during a run, for `Hooks(flat, layer, edit=...)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from netlens.errors import NetLensError

Edit = Callable[[Tensor], Tensor]


def zero(channels: int | Sequence[int], dim: int = 1) -> Edit:
    """An edit that sets channels to zero.

    Args:
        channels: One index or several, from 0 to the number of channels - 1.
        dim: The dimension of the channels.

    Returns:
        A function from an activation to another of the same shape. It raises `NetLensError` if the activation has no
        such channel.

    Example:
        >>> zero(0)(torch.ones(1, 2)).tolist()
        [[0.0, 1.0]]
    """
    indices: list[Any] = [channels] if isinstance(channels, Integral) else list(channels)  # type: ignore[arg-type]

    def edit(activation: Tensor) -> Tensor:
        count = activation.shape[dim]
        missing = [index for index in indices if not 0 <= index < count]
        if missing:
            raise NetLensError(
                f"there is no channel {missing[0]}; the layer has channels 0 to {count - 1}: choose one of these."
            )
        return activation.index_fill(dim, torch.tensor(indices, device=activation.device), 0)

    return edit


def add(direction: Tensor, scale: float = 1.0, dim: int = 1) -> Edit:
    """An edit that adds `scale * direction` at every position.

    Args:
        direction: A vector (C,), one number per channel.
        scale: The factor of the direction.
        dim: The dimension of the channels.

    Returns:
        A function from an activation to another of the same shape. It raises `NetLensError` if the activation does not
        have C channels.

    Example:
        >>> add(torch.tensor([1.0, 2.0]), scale=10)(torch.zeros(1, 2)).tolist()
        [[10.0, 20.0]]
    """

    def edit(activation: Tensor) -> Tensor:
        if direction.shape != (activation.shape[dim],):
            raise NetLensError(
                f"the direction has shape {tuple(direction.shape)}; this layer needs ({activation.shape[dim]},): give "
                "one number per channel."
            )
        shape = [1] * activation.ndim
        shape[dim] = -1
        return activation + scale * direction.to(activation).view(shape)

    return edit


def substitute(values: Tensor) -> Edit:
    """An edit that replaces the activation.

    Args:
        values: The new activation, in any shape that broadcasts to the old one, such as (C, h, w) or (1, C, h, w).

    Returns:
        A function from an activation to another of the same shape, type and device.

    Example:
        >>> substitute(torch.tensor([5.0]))(torch.zeros(2, 1)).tolist()
        [[5.0], [5.0]]
    """

    def edit(activation: Tensor) -> Tensor:
        return values.to(activation).expand_as(activation)

    return edit

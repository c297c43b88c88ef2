"""Maps of any number of sides: of signals, images, and volumes or clips."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from netlens.errors import NotApplicable
from netlens.heatmaps import LINEAR


def sides_of(maps: Tensor) -> tuple[int, ...]:
    """The dimensions of the sides of maps (N, C, *sides).

    >>> import torch
    >>> sides_of(torch.zeros(1, 3, 5)), sides_of(torch.zeros(1, 3, 5, 5))
    ((2,), (2, 3))
    """
    return tuple(range(2, maps.ndim))


def resized(maps: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """(N, C, *size): maps (N, C, *sides), resized linearly along each side, without antialiasing."""
    if len(size) != maps.ndim - 2:
        raise NotApplicable(
            f"maps {tuple(maps.shape)} have other dimensions than the input, whose positions are "
            f"{'x'.join(map(str, size))}, as those of single frames have; choose a layer with maps of the whole input."
        )
    return F.interpolate(maps, list(size), mode=LINEAR[len(size)], align_corners=align_corners)

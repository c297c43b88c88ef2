"""Outline: the border of a region, drawn over pixels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from netlens import heatmaps
from netlens.show._overlay import Pixels

_WIDTH = 0.004  # of a line, as a share of the longer side
_LIGHT, _DARK = (255, 255, 255, 255), (20, 20, 20, 255)


def outlined(pixels: Pixels, region: Tensor) -> Pixels:
    """(H', W', 4): a drawing with a line along the border of a region, white on dark, so that any ground shows it.

    Args:
        pixels: (H', W', 4), the drawing. It stays as it is.
        region: (H, W), bool, over the same picture in any size.

    Example:
        >>> import numpy as np, torch
        >>> region = torch.zeros(4, 4, dtype=torch.bool)
        >>> region[1:3, 1:3] = True
        >>> drawn = outlined(np.zeros((40, 40, 4), dtype=np.uint8), region)
        >>> drawn[10, 20].tolist(), drawn[20, 20].tolist(), drawn[0, 0].tolist()
        ([255, 255, 255, 255], [0, 0, 0, 0], [0, 0, 0, 0])
    """
    height, width = pixels.shape[:2]
    inside = heatmaps.resize(region[None, None].float(), (height, width))[0, 0] > 0.5
    thin = max(1, round(_WIDTH * max(height, width)))
    drawn: Pixels = pixels.copy()
    drawn[_border(inside, 2 * thin).numpy()] = _DARK
    drawn[_border(inside, thin).numpy()] = _LIGHT
    return drawn


def _border(inside: Tensor, reach: int) -> Tensor:
    """(H, W), bool: the pixels within `reach` of a border. The rim of the picture is none."""
    grown, shrunk = _spread(inside, reach), ~_spread(~inside, reach)
    return grown & ~shrunk


def _spread(inside: Tensor, reach: int) -> Tensor:
    """(H, W), bool: the pixels within `reach` of one that is inside, along both sides."""
    return F.max_pool2d(inside[None].float(), 2 * reach + 1, stride=1, padding=reach)[0] > 0

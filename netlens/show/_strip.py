"""Strips: slices of a volume, or frames of a clip, side by side as one picture."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FRAMES = 6  # slices of a strip; more would be too small to see
FRAME = 200  # the smallest longer side of a slice, in drawn pixels
_GAP = 6


def chosen_frames(count: int) -> list[int]:
    """The slices that a strip shows: all, or `FRAMES` of them at equal distances, with the first and the last.

    >>> chosen_frames(4), chosen_frames(16)
    ([0, 1, 2, 3], [0, 3, 6, 9, 12, 15])
    """
    return [round(index) for index in np.linspace(0, count - 1, min(count, FRAMES))]


def frames_of(volumes: Tensor, frames: list[int]) -> Tensor:
    """(N * frames, C, H, W): these slices of volumes (N, C, D, H, W), all of the first volume first."""
    return torch.stack([volumes[:, :, frame] for frame in frames], 1).flatten(0, 1)


def strips(pixels: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """(N, H, W', 4): `count` slices each, side by side with white gaps, from slices (N * count, H, W, 4)."""
    slices = pixels.reshape(-1, count, *pixels.shape[1:])
    gap = np.full((len(slices), pixels.shape[1], _GAP, 4), 255, dtype=np.uint8)
    parts = [part for index in range(count) for part in (gap, slices[:, index])][1:]
    return np.concatenate(parts, axis=2)


def which(frames: list[int], count: int) -> str:
    """A line that names the slices of a strip.

    >>> which([0, 3, 6], 7), which([0, 1], 2)
    ('slices 0, 3, 6 of 0 to 6', 'slices 0 to 1')
    """
    if len(frames) == count:
        return f"slices 0 to {count - 1}"
    return f"slices {', '.join(map(str, frames))} of 0 to {count - 1}"

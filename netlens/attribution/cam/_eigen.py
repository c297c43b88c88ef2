"""Eigen-CAM: the direction in which the activations of a layer vary most, as a map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution.cam._base import ActivationMaps, GradientMaps, maps_of
from netlens.attribution.method import register
from netlens.flat import FlatModel
from netlens.objectives import Objective
from netlens.options import option
from netlens.precision import precise


@register
@dataclass(frozen=True)
class EigenCAM(ActivationMaps):
    """The activation at each position, projected on the direction in which the activations vary most.

    `values` (N, 1, h, w) are A v at the resolution of the layer. A is the matrix of positions times channels, and v its
    first right singular vector. The map is the same for every class. The sign of v makes the position of largest
    magnitude positive; the paper does not fix it, but Chung and Ying 2025, https://doi.org/10.3390/app15137562, do.
    `centered` subtracts the mean of each channel first, as pytorch-grad-cam does and the paper does not.

    Muhammad and Yeasin 2020, https://arxiv.org/abs/2008.00299
    """

    centered: bool = option(False, help="Whether to subtract the mean of each channel first.")
    reads_objective = False

    def cams(self, flat: FlatModel, x: Tensor, objective: Objective, keys: Sequence[str]) -> Iterator[Tensor]:
        return (projected(maps, self.centered) for maps in maps_of(flat, x, keys).values())


@register
@dataclass(frozen=True)
class EigenGradCAM(GradientMaps):
    """Eigen-CAM of gradient times activation, so that the map depends on the class.

    `values` (N, 1, h, w) are G v at the resolution of the layer. G is the matrix of gradient times activation,
    positions times channels, and v its first right singular vector. The position of largest magnitude is positive, so
    the map shows where the evidence lies, but not whether it is for or against the class.

    As in pytorch-grad-cam, after Muhammad and Yeasin 2020, https://arxiv.org/abs/2008.00299
    """

    centered: bool = option(False, help="Whether to subtract the mean of each channel first.")

    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return projected(gradient * activation, self.centered)


def projected(maps: Tensor, centered: bool) -> Tensor:
    """(N, 1, h, w): maps (N, C, h, w) projected on their first right singular vector, with a positive extreme.

    >>> maps = torch.tensor([[3.0, 0.0], [4.0, 0.0]]).view(1, 2, 1, 2)  # channels (3, 0) and (4, 0)
    >>> [round(value, 4) for value in projected(maps, centered=False).flatten().tolist()]
    [5.0, 0.0]
    """
    rows = maps.flatten(2).transpose(1, 2)  # positions times channels
    if centered:
        rows = rows - rows.mean(1, keepdim=True)
    # torch has no SVD in half precision, and its error for NaN does not name the source of the NaN
    rows = precise(rows)
    broken = ~torch.isfinite(rows).flatten(1).all(1)
    first = torch.linalg.svd(rows.masked_fill(broken[:, None, None], 0), full_matrices=False).Vh[:, 0]
    cam = rows @ first[:, :, None]
    cam = torch.where(-cam.amin(1, keepdim=True) > cam.amax(1, keepdim=True), -cam, cam)
    cam = cam.masked_fill(broken[:, None, None], torch.nan)
    projection: Tensor = cam.transpose(1, 2).unflatten(2, maps.shape[2:]).to(maps.dtype)
    return projection

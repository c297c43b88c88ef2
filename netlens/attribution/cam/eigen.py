"""Eigen-CAM: the direction in which the activations of a layer vary most, as a map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution.cam.base import ActivationMaps, GradientMaps, maps_of
from netlens.attribution.method import register
from netlens.flat import FlatModel
from netlens.flat.precision import precise
from netlens.objectives import Objective
from netlens.options import option


@register
@dataclass(frozen=True)
class EigenCAM(ActivationMaps):
    """The activation at each place projected on the first right singular vector of places times channels.

    It looks at no class, whatever the objective. Of the two signs that a singular vector can have, it gets that in
    which the place of largest magnitude is positive (the paper leaves it open; Chung and Ying 2025,
    https://doi.org/10.3390/app15137562, fix it so). centered: subtract each channel's mean first, as pytorch-grad-cam
    does; the paper does not. `values` (N, 1, h, w) have the layer's resolution.

    Muhammad and Yeasin 2020, https://arxiv.org/abs/2008.00299
    """

    centered: bool = option(False, help="Whether to subtract each channel's mean first.")
    reads_objective = False

    def cams(self, flat: FlatModel, x: Tensor, objective: Objective, keys: Sequence[str]) -> Iterator[Tensor]:
        return (projected(maps, self.centered) for maps in maps_of(flat, x, keys).values())


@register
@dataclass(frozen=True)
class EigenGradCAM(GradientMaps):
    """As Eigen-CAM, of gradient times activation, so that it looks at the class.

    The place of largest magnitude is positive, so the map shows where the evidence lies, but not for or against what.
    `values` (N, 1, h, w) have the layer's resolution.

    As in pytorch-grad-cam, after Muhammad and Yeasin 2020, https://arxiv.org/abs/2008.00299
    """

    centered: bool = option(False, help="Whether to subtract each channel's mean first.")

    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return projected(gradient * activation, self.centered)


def projected(maps: Tensor, centered: bool) -> Tensor:
    """(N, 1, h, w): maps (N, C, h, w) projected on their first right singular vector, the extreme positive.

    >>> maps = torch.tensor([[3.0, 0.0], [4.0, 0.0]]).view(1, 2, 1, 2)  # channels (3, 0) and (4, 0)
    >>> [round(value, 4) for value in projected(maps, centered=False).flatten().tolist()]
    [5.0, 0.0]
    """
    rows = maps.flatten(2).transpose(1, 2)  # places times channels
    if centered:
        rows = rows - rows.mean(1, keepdim=True)
    # there is no decomposition in half precision; and one of NaN is refused without a word on where it comes from
    rows = precise(rows)
    broken = ~torch.isfinite(rows).flatten(1).all(1)
    first = torch.linalg.svd(rows.masked_fill(broken[:, None, None], 0), full_matrices=False).Vh[:, 0]
    cam = rows @ first[:, :, None]
    cam = torch.where(-cam.amin(1, keepdim=True) > cam.amax(1, keepdim=True), -cam, cam)
    cam = cam.masked_fill(broken[:, None, None], torch.nan)
    return cam.transpose(1, 2).unflatten(2, maps.shape[-2:]).to(maps.dtype)

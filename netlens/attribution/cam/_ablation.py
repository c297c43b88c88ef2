"""Ablation-CAM: channels weighted by how far the objective falls without them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution._chunk import in_chunks
from netlens.attribution._suffix import Suffix
from netlens.attribution.cam._base import ActivationMaps, weighted
from netlens.attribution.cam._head import of_scores, pooled_features
from netlens.attribution.cam._sides import sides_of
from netlens.attribution.method import register
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.grid import grid_of
from netlens.objectives import Objective
from netlens.options import option


@register
@dataclass(frozen=True)
class AblationCAM(ActivationMaps):
    """The channels of a late layer, weighted by how far the objective falls without each of them.

    `values` (N, 1, h, w) are sum_c w_c A_c at the resolution of the layer, with w_c = (y - y without channel c) / y for
    the objective y. A negative y changes the sign of the map, as in the paper. `relative=False`, or a y of 0, gives
    w_c = y - y without channel c.

    A channel that is removed becomes 0 everywhere, in class tokens too. Only the layers after the chosen one run, and
    a channel of zeros needs no run. Where a mean over space and a linear layer follow, nothing runs, because the fall
    is weight times mean.

    Desai and Ramaswamy 2020, https://doi.org/10.1109/WACV45572.2020.9093360
    """

    relative: bool = option(True, help="Whether to divide a fall by the objective.")

    def cams(self, flat: FlatModel, x: Tensor, objective: Objective, keys: Sequence[str]) -> Iterator[Tensor]:
        for key in keys:
            linear = of_scores(flat, objective) and pooled_features(flat, key) is not None
            suffix = Suffix.of(flat, x, objective, key, many=not linear)
            maps = grid_of(flat, key, suffix.activation, x)
            y = suffix.values(suffix.activation)
            if linear:
                falls = (grid_of(flat, key, suffix.gradients(suffix.activation), x) * maps).sum(sides_of(maps))
            else:
                falls = ablated(suffix, maps, y, x)
            yield weighted(falls / y.masked_fill(y == 0, 1)[:, None] if self.relative else falls, maps)


def ablated(suffix: Suffix, maps: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(N, C): how far the value y (N,) of the suffix falls when one channel of the activation becomes 0."""
    dim = channel_dim(suffix, maps, x)
    by_channel = suffix.activation.movedim(dim, 1)
    jobs = (by_channel != 0).flatten(2).any(2).nonzero()  # NaN counts too
    falls = torch.zeros(by_channel.shape[:2], dtype=y.dtype, device=y.device)

    def work(first: int, last: int) -> tuple[Tensor, Tensor]:
        samples, channels = jobs[first:last].T
        activation = by_channel[samples]
        activation[torch.arange(len(activation), device=activation.device), channels] = 0
        return jobs[first:last], y[samples] - suffix.value(samples.tolist(), activation.movedim(1, dim))

    for places, fall in in_chunks(len(jobs), work):
        falls[places[:, 0], places[:, 1]] = fall
    return falls


def channel_dim(suffix: Suffix, maps: Tensor, x: Tensor) -> int:
    """The dimension of the activation that becomes the channels of its maps, in any layout of a family."""
    activation, channels = suffix.activation[:1], maps.shape[1]
    numbers = torch.arange(channels, dtype=torch.float32, device=activation.device)
    for dim in range(1, activation.ndim):
        if activation.shape[dim] == channels:
            shape = [1] * activation.ndim
            shape[dim] = channels
            number_maps = grid_of(suffix.flat, suffix.wrt, numbers.view(shape).expand(activation.shape), x)
            if torch.equal(number_maps, numbers.view(1, -1, *[1] * (number_maps.ndim - 2)).expand_as(number_maps)):
                return dim
    raise NotApplicable(
        f"the channels of the maps of {suffix.wrt!r} are no dimension of its activation "
        f"{tuple(suffix.activation.shape)}; choose another layer."
    )

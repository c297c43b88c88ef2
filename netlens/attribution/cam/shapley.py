"""Shapley-CAM: Grad-CAM with the curvature of the objective taken into account."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from netlens.attribution.cam.base import ActivationMaps, weighted
from netlens.attribution.method import register
from netlens.attribution.suffix import Suffix
from netlens.flat import FlatModel
from netlens.flat.adapter import grid_of
from netlens.flat.chunks import in_chunks
from netlens.flat.modes import differentiating
from netlens.objectives import Objective


@register
@dataclass(frozen=True)
class ShapleyCAM(ActivationMaps):
    """Channels weighted by the mean of gradient - 1/2 Hessian * activation: Shapley values to second order.

    Where the rest of the network is piecewise linear, as after the last maps of most CNNs, this is Grad-CAM. `values`
    (N, 1, h, w) have the layer's resolution.

    Cai 2025, https://arxiv.org/abs/2501.06261
    """

    chunk: int | None = None

    def cams(self, flat: FlatModel, x: Tensor, objective: Objective, keys: Sequence[str]) -> Iterator[Tensor]:
        for key in keys:
            suffix = Suffix.of(flat, x, objective, key)
            importance = torch.cat(list(in_chunks(len(x), self.chunk, partial(_importance, suffix))))
            yield weighted(grid_of(flat, key, importance).mean((2, 3)), grid_of(flat, key, suffix.at))


def _importance(suffix: Suffix, first: int, last: int) -> Tensor:
    """gradient - 1/2 Hessian * activation of these samples, of the shape of the activation."""
    with differentiating():
        point = suffix.at[first:last].detach().requires_grad_()
        value = suffix.value(range(first, last), point)
        (gradient,) = torch.autograd.grad(value.sum(), point, create_graph=True)
        along = (gradient * point.detach()).sum()
        curved = torch.autograd.grad(along, point, allow_unused=True)[0] if along.requires_grad else None
    importance = gradient.detach() if curved is None else gradient.detach() - curved / 2
    # the derivative of a rectifier at NaN is 0 or 1, so the gradient of a broken value can look healthy
    broken = ~torch.isfinite(value.detach()).view(-1, *[1] * (importance.ndim - 1))
    return importance.masked_fill(broken, torch.nan)

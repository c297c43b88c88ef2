"""Shapley-CAM: Grad-CAM that also uses the curvature of the objective."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from netlens.attribution._chunk import in_chunks
from netlens.attribution._derivatives import (
    check_differentiable,
    layer_without_second_derivative,
    missing_derivative,
    with_derivatives,
)
from netlens.attribution._suffix import Suffix
from netlens.attribution.cam._base import ActivationMaps, weighted
from netlens.attribution.cam._sides import sides_of
from netlens.attribution.method import register
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.grid import grid_of
from netlens.flat.running import differentiating
from netlens.objectives import Objective


@register
@dataclass(frozen=True)
class ShapleyCAM(ActivationMaps):
    """The channels of a late layer, weighted by their Shapley values to second order.

    `values` (N, 1, h, w) are sum_c w_c A_c at the resolution of the layer, where w_c is the mean over the positions of
    channel c of gradient - 1/2 Hessian * activation. If the rest of the network is piecewise linear, as after the last
    maps of most CNNs, the map is that of Grad-CAM.

    Cai 2025, https://arxiv.org/abs/2501.06261
    """

    def cams(self, flat: FlatModel, x: Tensor, objective: Objective, keys: Sequence[str]) -> Iterator[Tensor]:
        for key in keys:
            suffix = Suffix.of(flat, x, objective, key)
            importance = torch.cat(list(in_chunks(len(x), partial(_importance, suffix))))
            maps = grid_of(flat, key, importance, x)
            yield weighted(maps.mean(sides_of(maps)), grid_of(flat, key, suffix.activation, x))


def _importance(suffix: Suffix, first: int, last: int) -> Tensor:
    """gradient - 1/2 Hessian * activation of these samples, in the shape of the activation."""
    try:
        value, gradient, curved = with_derivatives(partial(_curvature, suffix, first, last))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        # if this plain run fails, too, a missing derivative is not the cause, and its error is raised
        suffix.value(range(first, last), suffix.activation[first:last])
        raise _refused(suffix) from error
    importance = gradient if curved is None else gradient - curved / 2
    # the derivative of a rectifier at NaN is 0 or 1, so the gradient of a broken value can look healthy
    broken = ~torch.isfinite(value).view(-1, *[1] * (importance.ndim - 1))
    return importance.masked_fill(broken, torch.nan)


def _curvature(suffix: Suffix, first: int, last: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """The values, gradients, and Hessian * activation of these samples; the last is None for a constant gradient."""
    with differentiating():
        point = suffix.activation[first:last].detach().requires_grad_()
        value = suffix.value(range(first, last), point)
        if not value.requires_grad:
            raise NotApplicable(
                f"{suffix.objective} of {suffix.flat.name} has no gradient at {suffix.wrt!r}; choose another layer."
            )
        # these weights give even a constant gradient a graph, so a gradient without a graph is one that was cut off
        ones = torch.ones_like(value).requires_grad_()
        (gradient,) = torch.autograd.grad(value, point, ones, create_graph=True)
        check_differentiable([gradient])
        (curved,) = torch.autograd.grad((gradient * point.detach()).sum(), point, allow_unused=True)
    return value.detach(), gradient.detach(), curved


def _refused(suffix: Suffix) -> NotApplicable:
    """The error that names the layer which lacks second derivatives."""
    purpose = "Shapley-CAM takes second derivatives"
    layer = layer_without_second_derivative(suffix.flat, suffix.one(0), suffix.flat.keys_of(suffix.objective.layers))
    if layer is None:
        return NotApplicable(f"{purpose}, which {suffix.objective} of {suffix.flat.name} does not have; take GradCAM.")
    return missing_derivative(suffix.flat, *layer, purpose)

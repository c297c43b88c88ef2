"""FullGrad: the full gradients of an objective, drawn as one map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from netlens.attribution._backward import evaluated
from netlens.attribution._positions import has_maps, positions_of
from netlens.attribution._run import sharing
from netlens.attribution.activations import activations_of
from netlens.attribution.cam._base import check_after
from netlens.attribution.cam._full_gradient import full_gradients, full_points
from netlens.attribution.cam._sides import resized, sides_of
from netlens.attribution.engine import forward_and_backward
from netlens.attribution.method import Method, register
from netlens.errors import NotApplicable
from netlens.fast.chunks import in_chunks
from netlens.flat import FlatModel
from netlens.flat.bundle import parts_of
from netlens.flat.grid import grid_of
from netlens.flat.running import tapped_visit
from netlens.heatmaps import rescale
from netlens.objectives import Objective, Record


@register
@dataclass(frozen=True)
class FullGrad(Method):
    """The magnitudes of input times gradient, and of each bias times its gradient, as one map.

    `values` (N, 1, H, W) have the resolution of the input and no unit. They are the sum over all channels of the input
    and of all layers with maps. Before the sum, the magnitudes of each channel are scaled to the range from 0 to 1, and
    resized.

    The contributions themselves, which `full_gradients` gives, sum to the objective. `diagnostics["completeness_gap"]`
    (N,) is their sum less the objective. The gap is rounding if the objective is linear in the activations that it
    reads, as a score is.

    Srinivas and Fleuret 2019, https://arxiv.org/abs/1905.00780
    """

    reduction = "cam"
    gives_maps = True

    def attribute(self, flat: FlatModel, x: Tensor, objective: Objective, wrt: str) -> tuple[Tensor, dict[str, Tensor]]:
        check_after(flat, objective, wrt)
        if parts_of(flat):
            raise NotApplicable(f"FullGrad takes a network of one input; {flat.name} has {', '.join(parts_of(flat))}.")
        if wrt not in flat.inputs:
            raise NotApplicable(f"FullGrad explains an image by all layers together, not by {wrt!r}; leave wrt out.")
        if not has_maps(flat, wrt, x) or positions_of(flat, wrt, x) != sides_of(x):
            raise NotApplicable(f"FullGrad explains images (N, C, H, W), not {tuple(x.shape)}; use InputXGradient.")

        def work(first: int, last: int) -> tuple[Tensor, Tensor]:
            return _explained(flat, x[first:last], objective.take(range(first, last)))

        # if hooks listen, or the objective needs the whole batch, the batch runs as one
        size = None if objective.splits and tapped_visit(flat) is None else len(x)
        cams, gaps = zip(*in_chunks(len(x), size, work), strict=True)
        return torch.cat(cams), {"completeness_gap": torch.cat(gaps)}


def _explained(flat: FlatModel, x: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
    """The map (n, 1, H, W) of a chunk, and the completeness gap (n,)."""
    cam, total = x.new_zeros(len(x), 1, *x.shape[2:]), x.new_zeros(len(x))
    with sharing(forward_and_backward(flat, x, objective, full_points(flat, x, objective))):
        for key, part in full_gradients(flat, x, objective):
            total = total + part.flatten(1).sum(1)
            try:
                maps = grid_of(flat, key, part, x)
            except NotApplicable:  # a part without positions, such as the classifier's bias, counts but is not drawn
                continue
            cam = cam + _as_map(maps, x.shape[2:])
        record = Record(flat, activations_of(flat, x, flat.keys_of(objective.layers)))
        return cam, total - evaluated(objective, record, len(x))


def _as_map(maps: Tensor, size: torch.Size) -> Tensor:
    """(N, 1, H, W): the magnitude of each channel is scaled to [0, 1]; the sum over channels is resized."""
    magnitudes = maps.abs()
    scaled = rescale(
        magnitudes, magnitudes.amin(sides_of(maps), keepdim=True), magnitudes.amax(sides_of(maps), keepdim=True)
    )
    # a resize is linear, so one map is resized instead of one map per channel
    return resized(scaled.sum(1, keepdim=True), size)

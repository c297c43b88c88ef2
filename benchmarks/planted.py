"""A planted patch: one patch of a picture is all that matters, and Grad-CAM must point to it, whatever the weights are.

Two pictures differ in one patch only. The objective is the change that the patch makes in the output, so nothing else
matters to it by construction. Grad-CAM weighs the channels of its default layer by their mean gradient. The map here
applies these weights to the change of the activation, because the rest of the activation belongs to the rest of the
picture. Its largest value must lie on the patch: if the layer has no places, or its places are taken for others
(transposed, in the order of windows, shifted by a class token), it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netlens.attribution import GradCAM
from netlens.attribution.engine import gradients_of
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.flat.grid import grid_of
from netlens.objectives import Objective, output

# where the patch begins along each spatial dimension of the input, and its length, as shares of the picture
_STARTS = {1: (0.625,), 2: (0.125, 0.625), 3: (0.125, 0.625, 0.375)}
_LENGTH = 0.25
_SPREAD = 1.5


@dataclass(frozen=True)
class Planted:
    """Where the map of a planted patch is largest.

    Attributes:
        layer: The layer that Grad-CAM read.
        grid: The spatial sizes of its map.
        largest: The position of the largest value.
        share: The part of the map's positive values that lies on the patch.
        on_patch: Whether the position of the largest value overlaps the patch.
        contrast: The largest change that the patch makes at a position of the layer, divided by the mean change. Near
            1, the network itself spreads the patch over all positions, as untrained token mixers and late attention do.
            Then `on_patch` depends on the weights, and says nothing about places. Read an earlier layer.
    """

    layer: str
    grid: tuple[int, ...]
    largest: tuple[int, ...]
    share: float
    on_patch: bool
    contrast: float

    @property
    def is_spread(self) -> bool:
        """Whether the network spreads the patch over all positions, so that nothing can be found."""
        return self.contrast < _SPREAD


def planted(
    flat: FlatModel,
    shape: Sequence[int],
    layer: str | None = None,
    dims: Sequence[int] | None = None,
    pictures: int = 4,
) -> Planted:
    """Plant a patch in pictures of noise, and say where Grad-CAM finds it: the mean of the maps of several pictures.

    Args:
        flat: The network, with trained weights, or initial ones that are `awakened`.
        shape: The shape (1, ...) of its input.
        layer: The layer that Grad-CAM reads; None for its default.
        dims: The spatial dimensions of the input; None for all after the channels.
        pictures: How many pictures. Random gates of squeeze-and-excitation change the whole map with the patch; the
            mean over pictures leaves the patch.

    Raises:
        NotApplicable: Grad-CAM refuses the network, and says why.
        NetLensError: The patch does not change the output.
    """
    dims = tuple(range(2, len(shape))) if dims is None else tuple(dims)
    cams = [_cam(flat, *differing(flat, shape, dims, seed), layer) for seed in range(pictures)]
    key, cam = cams[0][0], torch.stack([cam for _, cam, _ in cams]).mean(0)
    size = torch.stack([size for _, _, size in cams]).mean(0)
    inside = [
        [index for index in range(size) if index / size < start + _LENGTH and (index + 1) / size > start]
        for size, start in zip(cam.shape, _STARTS[len(dims)], strict=True)
    ]
    largest = tuple(int(place) for place in (cam == cam.max()).nonzero()[0])
    positive = cam.clamp(min=0)
    on_patch = positive
    for dim, indices in enumerate(inside):
        on_patch = on_patch.index_select(dim, torch.tensor(indices, device=cam.device))
    return Planted(
        layer=key,
        grid=tuple(cam.shape),
        largest=largest,
        share=float(on_patch.sum() / positive.sum()),
        on_patch=cam.numel() > 1 and all(place in near for place, near in zip(largest, inside, strict=True)),
        contrast=float(size.max() / size.mean()),
    )


def awakened(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give the constant parameters of a network some noise, in place: an initial head of zeros answers nothing.

    All other weights stay. Those of the network's own initialization mix positions little, so that the patch stays the
    place that changes most. Random weights of full size in token mixers and attention drown it.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.parameters():
            if tensor.is_floating_point() and tensor.numel() > 1 and bool((tensor == tensor.flatten()[0]).all()):
                tensor.add_(0.02 * torch.randn(tensor.shape, generator=generator).to(tensor))
    return network


def _cam(flat: FlatModel, blank: Tensor, picture: Tensor, layer: str | None) -> tuple[str, Tensor, Tensor]:
    """The layer that Grad-CAM reads, its map of the patch (spatial sizes), and the size of the change at each position.

    The map is scaled to a largest magnitude of 1.
    """
    objective = _change_of_output(flat, blank, picture)
    key = GradCAM(layer, relu=False)(flat, picture, objective).provenance.layer
    (activation,), (gradient,) = gradients_of(flat, picture, objective, (key,))
    with torch.no_grad():
        change = grid_of(flat, key, activation) - grid_of(flat, key, flat.record(blank, layers=key)[key])
    weights = grid_of(flat, key, gradient).flatten(2).mean(2)
    cam = torch.einsum("c,c...->...", weights[0], change[0])
    return key, cam / cam.abs().max(), change[0].abs().mean(0)


def differing(
    flat: FlatModel,
    shape: Sequence[int],
    dims: Sequence[int],
    seed: int,
    starts: Sequence[float] | None = None,
    lengths: Sequence[float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Noise, and the same noise with other, stronger noise in the patch.

    Args:
        flat: The network, for the type of its input.
        shape: The shape (1, ...) of its input.
        dims: The spatial dimensions of the input.
        seed: The seed of the noise.
        starts: Where the patch begins along each of these dimensions, as a share of the picture; None: where `planted`
            looks for it.
        lengths: The length of the patch along each of them, likewise.
    """
    starts = _STARTS[len(dims)] if starts is None else starts
    lengths = [_LENGTH] * len(dims) if lengths is None else lengths
    noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    patch = torch.ones(shape[0], *[1] * (len(shape) - 1))
    for dim, start, length in zip(dims, starts, lengths, strict=True):
        size = shape[dim]
        inside = torch.zeros(size)
        inside[int(start * size) : max(int((start + length) * size), int(start * size) + 1)] = 1
        patch = patch * inside.view([-1 if each == dim else 1 for each in range(len(shape))])
    weights = next((each for each in flat.parameters() if each.is_floating_point()), noise)
    blank, picture = noise[0], torch.where(patch.expand(list(shape)) > 0, 2 * noise[1], noise[0])
    return blank.to(weights), picture.to(weights)


def _change_of_output(flat: FlatModel, blank: Tensor, picture: Tensor) -> Objective:
    """The output of one sample along the change that the patch makes in it."""
    with torch.no_grad():
        change = [
            after - before for before, after in zip(tensors_of(flat(blank)), tensors_of(flat(picture)), strict=True)
        ]
    # in double precision, because the square of a small change is no number of single precision
    size = float(sum(each.double().square().sum() for each in change))
    if not size > 0:
        raise NetLensError(f"the patch does not change the output of {flat.name}, so there is nothing to find.")

    def along(values: Any) -> Tensor:
        # parts such as boxes or the frames of a clip have no dimension of samples, or another one in its place
        products = [(each.double() * part).sum() for each, part in zip(tensors_of(values), change, strict=True)]
        return (torch.stack(products).sum() / size)[None]

    return output(along, name="change by the patch")


def tensors_of(values: Any) -> list[Tensor]:
    """The tensors of real numbers in an output."""
    leaves = pytree.tree_leaves(values)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.ndim > 0]

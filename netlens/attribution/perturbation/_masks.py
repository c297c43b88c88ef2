"""Feature masks: which entries of an input, or of a layer, are switched on and off together."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from netlens.attribution.perturbation._superpixels import superpixels
from netlens.errors import NetLensError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.grid import grid_of
from netlens.options import checked


def default_mask(flat: FlatModel, x: Tensor, wrt: str, activation: Tensor, n_segments: int) -> Tensor:
    """The default features of an activation, as a mask (N or 1, ...) that broadcasts to it.

    A picture has about `n_segments` superpixels. Other maps have at most `n_segments` patches, over all channels. Each
    token of a sequence and each entry of a vector is one feature.
    """
    if wrt in flat.inputs and x.ndim == 4 and x.shape[1] in (1, 3):
        return superpixels(flat, x, n_segments)
    dims = spatial_dims(flat, wrt, activation)
    sizes = [activation.shape[dim] for dim in dims]
    numbers = patches(sizes[0], sizes[1], n_segments) if len(sizes) == 2 else torch.arange(sizes[0])
    return numbers.view([activation.shape[dim] if dim in dims else 1 for dim in range(activation.ndim)])


def patches(height: int, width: int, n_segments: int) -> Tensor:
    """A mask (height, width) of at most `n_segments` rectangles, numbered row by row.

    The rectangles have nearly equal sizes and are nearly square.

    >>> patches(2, 6, 3)
    tensor([[0, 0, 1, 1, 2, 2],
            [0, 0, 1, 1, 2, 2]])
    """
    checked("n_segments", n_segments, int, least=1)
    shapes = [(rows, min(width, n_segments // rows)) for rows in range(1, min(height, n_segments) + 1)]

    def misfit(shape: tuple[int, int]) -> float:
        # how far patches are from squares, and how far their number is from n_segments, both as logarithms of ratios
        rows, columns = shape
        return abs(math.log(height * columns / (rows * width))) + math.log(n_segments / (rows * columns))

    rows, columns = min(shapes, key=misfit)
    row, column = torch.arange(height) * rows // height, torch.arange(width) * columns // width
    return row[:, None] * columns + column


def numbered(mask: Tensor, activation: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """The mask with one row per sample and features numbered from 0, and the number of features of each sample.

    Args:
        mask: Any integers, equal for the entries of a feature. It broadcasts to `activation`.
        activation: The activation (N, ...).
    """
    if not isinstance(mask, Tensor) or mask.is_floating_point() or mask.is_complex():
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise NetLensError(
            f"feature_mask must be a tensor of integers that give the feature of each entry, not {kind}."
        )
    shape = tuple(mask.shape)
    try:
        fits = torch.broadcast_shapes(shape, activation.shape) == activation.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise NetLensError(
            f"a feature_mask of shape {shape} does not broadcast to the activation {tuple(activation.shape)} that is "
            "explained."
        )
    mask = mask.reshape([1] * (activation.ndim - mask.ndim) + list(shape))
    numberings = [torch.unique(row, return_inverse=True) for row in mask.to(activation.device, torch.long)]
    rows = torch.stack([row for _, row in numberings])
    counts = tuple(len(names) for names, _ in numberings)
    return (
        (rows, counts)
        if len(rows) == len(activation)
        else (rows.expand(len(activation), *rows.shape[1:]), counts * len(activation))
    )


def spatial_dims(flat: FlatModel, wrt: str, activation: Tensor) -> tuple[int, ...]:
    """The dimensions of the positions of an activation: two of an image or of maps, one of tokens or features."""
    if activation.ndim == 4:
        maps = activation if wrt in flat.inputs else grid_of(flat, wrt, activation)
        if maps is not activation and maps.shape == activation.permute(0, 3, 1, 2).shape:
            return (1, 2)
        if maps.shape == activation.shape:
            return (2, 3)
    if activation.ndim in (2, 3):
        return (1,)
    raise NotApplicable(
        f"{wrt!r} of shape {tuple(activation.shape)} is neither maps nor tokens nor a vector; choose another."
    )

"""Whether the layer that Grad-CAM reads lies where netlens says: the place itself, whatever Grad-CAM makes of it.

A patch is planted at every place of a coarse grid in turn, and the change of the layer's activation is measured at each
of its positions. No gradient takes part. Random networks spread a patch over all positions, by attention, norms and
gates; so each change is divided by the mean of its position over the patches, and by the mean of its patch over the
positions. What is left says how much more a position answers to one patch than to others, and so where it looks.

The place is right if three things hold:

- agreement: along each axis, the measured positions correlate with the coordinates that netlens gives. Transposed
  maps have a correlation of about 0, and maps in the order of windows or shifted by a class token a low one.
- shift: the patches that positions answer to most lie, in the mean, where these are said to lie. Overlapping
  patches and strides shift maps by up to half a position, which is an eighth of the picture in maps of 4 × 4.
- carried: the layer alone carries a part of the change of the output that the patch makes. So it is no side branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.planted import differing, tensors_of
from netlens.attribution import cam_layer
from netlens.errors import NetLensError
from netlens.flat import FlatModel, Hooks
from netlens.flat.grid import grid_of

AGREEMENT = 0.8
SHIFT = 1 / 8  # of the picture
CARRIED = 0.01  # a class token carries most of it in some networks; a side branch carries nothing
_PATCHES = {1: 8, 2: 4, 3: 3}  # along each axis, by the number of axes
_COARSE = 8  # positions along each axis; the mean over the finer ones leaves less noise
_SHARP = 4  # the power of answers that leaves the strongest of them, and little of the noise of many weak ones
_MEASURABLE = 1e-5  # of the activation; smaller changes drown in the rounding of single precision


@dataclass(frozen=True)
class Placement:
    """How the answers of a layer to patches agree with its places.

    Attributes:
        layer: The layer.
        grid: The spatial sizes of its maps.
        agreement: For each axis with several positions, the correlation of measured and given coordinates.
        shift: For each axis, the mean distance of the patches that a position answers to most, as a share of
            the picture.
        carried: The change of the output that the layer alone makes, divided by the change that the patch makes.
    """

    layer: str
    grid: tuple[int, ...]
    agreement: tuple[float, ...]
    shift: tuple[float, ...]
    carried: float

    @property
    def is_right(self) -> bool:
        """Whether the layer lies where netlens says, and carries what the output sees of the patch."""
        agrees = bool(self.agreement) and min(self.agreement) >= AGREEMENT
        return agrees and max(map(abs, self.shift)) <= SHIFT and self.carried >= CARRIED


def placement(
    flat: FlatModel,
    shape: Sequence[int],
    layer: str | None = None,
    dims: Sequence[int] | None = None,
    pictures: int = 8,
) -> Placement:
    """Plant patches in pictures of noise, and compare what the layer answers with the places that netlens gives it.

    Args:
        flat: The network.
        shape: The shape (1, ...) of its input.
        layer: The layer; None for the one that Grad-CAM reads by default.
        dims: The spatial dimensions of the input; None for all after the channels.
        pictures: How many pictures of noise. The mean over them leaves what depends on places.

    Raises:
        NotApplicable: The network has no default layer, or the layer has no layout over the input.
        NetLensError: The patches do not change the output, or change the layer by less than rounding does.
    """
    dims = tuple(range(2, len(shape))) if dims is None else tuple(dims)
    key = cam_layer(flat, torch.empty(tuple(shape))) if layer is None else flat.key(layer)
    changes = torch.stack([_evened(_changes(flat, key, shape, dims, seed)) for seed in range(pictures)]).mean(0)
    patches = list(product(*[range(min(_PATCHES[len(dims)], shape[dim])) for dim in dims]))
    agreement, shift = _compared(_coarsened(changes), patches)
    return Placement(key, tuple(changes.shape[1:]), agreement, shift, _carried(flat, key, shape, dims))


def _changes(flat: FlatModel, key: str, shape: Sequence[int], dims: Sequence[int], seed: int) -> Tensor:
    """The size of the change at each position for each patch (patches, *grid)."""
    counts = [min(_PATCHES[len(dims)], shape[dim]) for dim in dims]
    rows: list[Tensor] = []
    with torch.no_grad():
        blank: Tensor | None = None
        for place in product(*map(range, counts)):
            starts = [index / count for index, count in zip(place, counts, strict=True)]
            without, picture = differing(flat, shape, dims, seed, starts, [1 / count for count in counts])
            if blank is None:
                activation = flat.record(without, layers=key)[key]
                blank = grid_of(flat, key, activation)
                least = _MEASURABLE * float(activation.abs().mean())
            rows.append((grid_of(flat, key, flat.record(picture, layers=key)[key]) - blank)[0].abs().mean(0).double())
    changes = torch.stack(rows)
    if not changes.max() > least:
        raise NetLensError(f"the patch does not change the output of {flat.name} measurably at layer {key!r}.")
    return changes


def _evened(changes: Tensor) -> Tensor:
    """Each change divided by the mean of its position over the patches, and then by the mean of its patch."""
    least = 1e-12  # a position or a patch without any answer
    answers = changes.flatten(1)
    answers = answers / answers.max()
    answers = answers / answers.mean(0, keepdim=True).clamp(min=least)
    answers = answers / answers.mean(1, keepdim=True).clamp(min=least)
    return answers.view_as(changes)


def _coarsened(changes: Tensor) -> Tensor:
    """The means over parts of the maps, as many as a person would look at."""
    sizes = tuple(min(size, _COARSE) for size in changes.shape[1:])
    pool: Any = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[len(sizes) - 1]
    coarse: Tensor = pool(changes, sizes)
    return coarse


def _compared(changes: Tensor, patches: Sequence[tuple[int, ...]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The agreement and the shift along each axis."""
    answers = changes.flatten(1)
    most = (answers - answers.min(0).values) ** _SHARP
    most = most / most.sum(0).clamp(min=1e-12)
    agreement, shift = [], []
    for axis, size in enumerate(changes.shape[1:]):
        along = torch.tensor([patch[axis] for patch in patches], dtype=torch.float64, device=answers.device)
        centers = ((along + 0.5) / (along.max() + 1))[:, None]
        index = torch.arange(size, dtype=torch.float64, device=answers.device)
        sides = [-1 if other == axis else 1 for other in range(changes.ndim - 1)]
        positions = ((index + 0.5) / size).view(sides).expand(changes.shape[1:]).flatten()
        # the first moment, not the center of gravity: the common part of all answers does not count
        measured = ((answers - answers.mean(0)) * (centers - centers.mean())).sum(0)
        if size > 1:
            agreement.append(float(torch.corrcoef(torch.stack([measured, positions]))[0, 1].nan_to_num()))
        shift.append(float(((most * centers).sum(0) - positions).mean()))
    return tuple(agreement), tuple(shift)


def _carried(flat: FlatModel, key: str, shape: Sequence[int], dims: Sequence[int]) -> float:
    """The change of the output if the layer alone knows of the patch, as a share of the whole change."""
    blank, picture = differing(flat, shape, dims, 0)
    with torch.no_grad():
        activation = flat.record(picture, layers=key)[key]
        before, after = tensors_of(flat(blank))[0], tensors_of(flat(picture))[0]
        with Hooks(flat, [key], gradients=False, edit=lambda _: activation):
            alone = tensors_of(flat(blank))[0].detach()
    whole = (after - before).double().norm()
    if not whole > 0:
        raise NetLensError(f"the patch does not change the output of {flat.name}, so nothing carries its change.")
    return float((alone - before).double().norm() / whole)

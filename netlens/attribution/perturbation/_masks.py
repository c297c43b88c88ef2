"""Feature masks: which entries of an input, or of a layer, are switched on and off together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

import torch
from torch import Tensor

from netlens.attribution._positions import positions_of
from netlens.attribution.perturbation._superpixels import superpixels
from netlens.errors import NetLensError
from netlens.flat import FlatModel
from netlens.flat.bundle import is_input, layout_at
from netlens.flat.layout import rank_of
from netlens.options import checked


def default_mask(flat: FlatModel, wrt: str, activation: Tensor, n_segments: int) -> Tensor:
    """The default features of an activation, as a mask (N or 1, ...) that broadcasts to it.

    A picture has about `n_segments` superpixels. A signal, a volume, and other maps have at most `n_segments` blocks,
    over all channels. Each token of a sequence and each entry of a vector is one feature.
    """
    dims = positions_of(flat, wrt, activation)
    if is_input(flat, wrt) and dims == (2, 3) and activation.ndim == 4 and activation.shape[1] in (1, 3):
        return superpixels(flat, activation, n_segments, wrt)
    sizes = [activation.shape[dim] for dim in dims]
    in_blocks = len(sizes) > 1 or dims != (1,) or _is_signal(flat, wrt, activation)
    numbers = blocks(sizes, n_segments) if in_blocks else torch.arange(sizes[0])
    return numbers.view([activation.shape[dim] if dim in dims else 1 for dim in range(activation.ndim)])


def _is_signal(flat: FlatModel, wrt: str, activation: Tensor) -> bool:
    """Whether a sequence is a signal: a convolution slides over it, or a recurrent layer reads it step by step."""
    return is_input(flat, wrt) and (rank_of(flat, wrt) == 1 or layout_at(flat, wrt, activation).time is not None)


def patches(height: int, width: int, n_segments: int) -> Tensor:
    """A mask (height, width) of at most `n_segments` rectangles, numbered row by row.

    The rectangles have nearly equal sizes and are nearly square.

    Args:
        height, width: The size of the mask, in pixels, each at least 1.
        n_segments: The largest number of rectangles, at least 1.

    Example:
        >>> patches(2, 6, 3)
        tensor([[0, 0, 1, 1, 2, 2],
                [0, 0, 1, 1, 2, 2]])
    """
    return blocks((height, width), n_segments)


def blocks(sizes: Sequence[int], n_segments: int) -> Tensor:
    """A mask (*sizes) of at most `n_segments` blocks of nearly equal sizes and sides, numbered in order.

    >>> blocks((6,), 3)
    tensor([0, 0, 1, 1, 2, 2])
    """
    n_segments = checked("n_segments", n_segments, int, least=1)

    def misfit(counts: tuple[int, ...]) -> float:
        # how far blocks are from cubes, and how far their number is from n_segments, both as logarithms of ratios
        ratios = [a * k / (b * n) for (a, n), (b, k) in combinations(zip(sizes, counts, strict=True), 2)]
        return max((abs(math.log(ratio)) for ratio in ratios), default=0.0) + math.log(n_segments / math.prod(counts))

    counts = min(_divisions(sizes, n_segments), key=misfit)
    number = torch.zeros([1] * len(sizes), dtype=torch.long)
    for dim, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        along = torch.arange(size) * count // size
        number = number * count + along.view([-1 if d == dim else 1 for d in range(len(sizes))])
    return number


def _divisions(sizes: Sequence[int], most: int) -> Iterator[tuple[int, ...]]:
    """Numbers of blocks along each dimension, with a product of at most `most` and the largest possible last one."""
    if len(sizes) == 1:
        yield (min(sizes[0], most),)
        return
    for count in range(1, min(sizes[0], most) + 1):
        yield from ((count, *rest) for rest in _divisions(sizes[1:], most // count))


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

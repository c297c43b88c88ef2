"""A batch on its way through a network: copies of one image run once, different images in chunks that fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from netlens.flat import FlatModel
from netlens.flat.chunks import in_chunks
from netlens.flat.model import OUTPUT
from netlens.flat.taps import tapped_visit


def are_copies(x: Tensor) -> bool:
    """Whether a batch is one image that was expanded to several samples.

    >>> image = torch.zeros(1, 3, 8, 8)
    >>> are_copies(image.expand(4, -1, -1, -1)), are_copies(image)
    (True, False)
    """
    return len(x) > 1 and x.stride(0) == 0


def owned(x: Tensor) -> Tensor:
    """The batch without its graph, and in memory that gradients may take part in; copies stay copies."""
    if not x.is_inference():
        return x.detach()
    return x[:1].clone().expand_as(x) if are_copies(x) else x.clone()


def record_batch(flat: FlatModel, x: Tensor, keys: Sequence[str]) -> dict[str, Any]:
    """The activations of x (n, ...) at these exact keys, as of one run of the whole, and without gradients.

    Where hooks listen, it is one run of the whole.
    """
    start = flat.inputs[0]
    with torch.no_grad():
        known: dict[str, Any] = {start: x}
        if len(x) > 1 and tapped_visit(flat) is None:
            asked = [*keys, *(flat.program.outputs if OUTPUT in keys else ())]
            of_samples = flat.program.reached(flat.inputs) - {start}
            parted = list(dict.fromkeys(key for key in asked if key in of_samples))
            if are_copies(x):
                parts = [flat.run({start: x[:1]}, parted)]
            else:
                parts = list(in_chunks(len(x), None, lambda first, last: flat.run({start: x[first:last]}, parted)))
            join = (lambda value: _repeated(value, len(x))) if are_copies(x) else (lambda *rows: torch.cat(rows))
            for key in parted:
                if all(isinstance(leaf, Tensor) and leaf.ndim for leaf in pytree.tree_leaves(parts[0][key])):
                    known[key] = pytree.tree_map(join, *(part[key] for part in parts))
        # what is no tensor, such as a size, may count the samples, and the output has a structure of its own
        return flat.run(known, keys)


def _repeated(value: Tensor, n: int) -> Tensor:
    rows = value.expand(n, *value.shape)
    # what is of windows has several rows per sample, which no view can repeat
    return rows[:, 0] if len(value) == 1 else rows.flatten(0, 1)

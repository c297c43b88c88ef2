"""A batch on its way through a network: copies of one image run once, different images in chunks that fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
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
    with torch.no_grad():
        known: dict[str, Any] = {flat.inputs[0]: x}
        if len(x) > 1 and tapped_visit(flat) is None:
            known |= _rows(flat, x, [*keys, *(flat.program.outputs if OUTPUT in keys else ())])
        # what is no tensor, such as a size, may count the samples, and the output has a structure of its own
        return flat.run(known, keys)


def _rows(flat: FlatModel, x: Tensor, keys: Sequence[str]) -> dict[str, Any]:
    """The values at those of the keys that have rows for the samples, in tensors or tuples of them."""
    start = flat.inputs[0]
    of_samples = flat.program.reached(flat.inputs) - {start}
    asked = [key for key in dict.fromkeys(keys) if key in of_samples]

    def run(some: Tensor) -> dict[str, Any]:
        return flat.run({start: some}, asked)

    join: Callable[..., Tensor]
    if are_copies(x):
        parts, join = [run(x[:1])], partial(_repeated, n=len(x))
    else:
        parts, join = list(in_chunks(len(x), None, lambda first, last: run(x[first:last]))), _joined
    return {
        key: pytree.tree_map(join, *(part[key] for part in parts))
        for key in asked
        if all(isinstance(leaf, Tensor) and leaf.ndim for leaf in pytree.tree_leaves(parts[0][key]))
    }


def _joined(*parts: Tensor) -> Tensor:
    return torch.cat(parts)


def _repeated(value: Tensor, n: int) -> Tensor:
    rows = value.expand(n, *value.shape)
    # what is of windows has several rows per sample, which no view can repeat
    return rows[:, 0] if len(value) == 1 else rows.flatten(0, 1)

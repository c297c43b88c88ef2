"""The activations of a batch: copies of one image run once, and different images run in chunks that fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from netlens.attribution._rows import with_rows
from netlens.attribution._run import shared_run
from netlens.attribution.batch import are_copies, repeated
from netlens.attribution.singly import joined, whole_or_singly
from netlens.fast.chunks import in_chunks
from netlens.flat import FlatModel
from netlens.flat.keys import OUTPUT
from netlens.flat.running import tapped_visit


def activations_of(flat: FlatModel, x: Tensor, keys: Sequence[str]) -> dict[str, Any]:
    """The activations at these exact keys, from the run that methods share, or from a new run."""
    run = shared_run(flat, x)
    return batch_activations(flat, x, keys) if run is None else run.activations_at(keys)


def batch_activations(flat: FlatModel, x: Tensor, keys: Sequence[str]) -> dict[str, Any]:
    """The activations of x (n, ...) at these exact keys, without gradients, with the values of one run of the batch.

    While hooks listen, the batch runs as one.
    """

    def whole() -> dict[str, Any]:
        values: dict[str, Any] = {flat.inputs[0]: x}
        if len(x) > 1 and tapped_visit(flat) is None:
            values |= _rows(flat, x, [*keys, *(flat.program.outputs if OUTPUT in keys else ())])
        # this run adds sizes, values that depend on sizes alone, and values whose rows are not samples
        return flat.run(values, keys)

    with torch.no_grad():
        return whole_or_singly(
            flat, x, whole, lambda: joined(flat, [flat.run({flat.inputs[0]: sample}, keys) for sample in x.split(1)])
        )


def _rows(flat: FlatModel, x: Tensor, keys: Sequence[str]) -> dict[str, Any]:
    """The values at those of the keys where the samples come first: tensors, or tuples of tensors."""
    in_rows = list(with_rows(flat, x, keys))
    if not in_rows:
        return {}

    def run(first: int, last: int) -> dict[str, Any]:
        return flat.run({flat.inputs[0]: x[first:last]}, in_rows)

    if are_copies(x):
        copies: dict[str, Any] = pytree.tree_map(lambda value: repeated(value, len(x)), run(0, 1))
        return copies
    parts = list(in_chunks(len(x), None, run))
    joined_rows: dict[str, Any] = pytree.tree_map(lambda *rows: torch.cat(rows), *parts)
    return joined_rows

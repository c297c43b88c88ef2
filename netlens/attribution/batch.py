"""The activations of a batch: copies of one image run once, and different images run in chunks that fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from netlens.attribution.samples import joined, known_to_take_one, pair_like, whole_or_singly
from netlens.fast.chunks import in_chunks
from netlens.flat import FlatModel
from netlens.flat.memo import Memo
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
    """The batch without its graph, in memory that allows gradients. Copies of one image stay copies."""
    if not x.is_inference():
        return x.detach()
    return x[:1].clone().expand_as(x) if are_copies(x) else x.clone()


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


def output_of(flat: FlatModel, x: Tensor) -> Any:
    """The output of the network on x (n, ...) in its own structure, even if it takes only one sample at a time."""
    return whole_or_singly(
        flat, x, lambda: flat(x), lambda: joined(flat, [{OUTPUT: flat(sample)} for sample in x.split(1)])[OUTPUT]
    )


def with_rows(flat: FlatModel, x: Tensor, keys: Sequence[str], least: int = 5) -> set[str]:
    """The keys whose tensors have the samples first, with one or several rows per sample.

    Two samples run alone and together, once for each key. These runs tell such tensors from sizes, from positions, from
    tensors with tokens first, and from the results of a batch norm without its own statistics. With fewer than `least`
    samples the runs cost more than they save. The answer is then empty, so that it does not depend on earlier calls.
    """
    if len(x) < least:
        return set()
    if known_to_take_one(flat, x):  # every value belongs to the one sample
        return set(keys)
    answers = _WITH_ROWS.of(flat, (x.shape[1:], x.dtype, x.device), dict)
    from_input = flat.program.reached(flat.inputs) - set(flat.inputs)
    new = [key for key in dict.fromkeys(keys) if key not in answers and key in from_input]
    if new:
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            pair = pair_like(x)
            one, other, both = (flat.run({flat.inputs[0]: samples}, new) for samples in (pair[:1], pair[1:], pair))
        answers |= {key: _joins(both[key], one[key], other[key]) for key in new}
    return {key for key in keys if answers.get(key, False)}


_WITH_ROWS: Memo[FlatModel, dict[str, bool]] = Memo()


def _joins(both: Any, one: Any, other: Any) -> bool:
    """Whether the value of two samples is that of the first, followed by that of the second."""
    leaves = [pytree.tree_leaves(value) for value in (both, one, other)]
    return len({len(tensors) for tensors in leaves}) == 1 and all(map(_is_joined, *leaves))


def _is_joined(both: Any, one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or one.ndim == 0 or one.shape != other.shape:
        return False
    joined = torch.cat([one, other])
    if both.shape != joined.shape or one.numel() == 0 or not one.is_floating_point():
        return torch.equal(both, joined)
    # with tokens first, the rows are as many but in another order; rounding depends on the number of samples
    rounding = torch.finfo(one.dtype).eps ** (1 / 3) * joined.nan_to_num(0, 0, 0).abs().amax()
    return torch.allclose(both, joined, rtol=0, atol=float(rounding), equal_nan=True)


def _rows(flat: FlatModel, x: Tensor, keys: Sequence[str]) -> dict[str, Any]:
    """The values at those keys that have the samples first, as tensors or tuples of tensors."""
    in_rows = list(with_rows(flat, x, keys))
    if not in_rows:
        return {}

    def run(first: int, last: int) -> dict[str, Any]:
        return flat.run({flat.inputs[0]: x[first:last]}, in_rows)

    if are_copies(x):
        copies: dict[str, Any] = pytree.tree_map(lambda value: repeated(value, len(x)), run(0, 1))
        return copies
    parts = list(in_chunks(len(x), None, run))
    joined: dict[str, Any] = pytree.tree_map(lambda *rows: torch.cat(rows), *parts)
    return joined


def repeated(value: Tensor, n: int) -> Tensor:
    """The activation of n copies of a sample, from that of the sample."""
    rows = value.expand(n, *value.shape)
    # an activation of windows has several rows per sample, and no view can repeat these
    return rows[:, 0] if len(value) == 1 else rows.flatten(0, 1)

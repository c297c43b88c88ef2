"""A batch on its way through a network: copies of one image run once, different images in chunks that fit."""

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
    """The batch without its graph, and in memory that gradients may take part in; copies stay copies."""
    if not x.is_inference():
        return x.detach()
    return x[:1].clone().expand_as(x) if are_copies(x) else x.clone()


def record_batch(flat: FlatModel, x: Tensor, keys: Sequence[str]) -> dict[str, Any]:
    """The activations of x (n, ...) at these exact keys, as of one run of the whole, and without gradients.

    Where hooks listen, it is one run of the whole.
    """

    def whole() -> dict[str, Any]:
        known: dict[str, Any] = {flat.inputs[0]: x}
        if len(x) > 1 and tapped_visit(flat) is None:
            known |= _rows(flat, x, [*keys, *(flat.program.outputs if OUTPUT in keys else ())])
        # sizes, what depends on these alone, and what has the samples elsewhere, as in one run
        return flat.run(known, keys)

    with torch.no_grad():
        return whole_or_singly(
            flat, x, whole, lambda: joined(flat, [flat.run({flat.inputs[0]: one}, keys) for one in x.split(1)])
        )


def output_of(flat: FlatModel, x: Tensor) -> Any:
    """The network's output on x (n, ...) in its own structure, also where it takes one sample at a time."""
    return whole_or_singly(
        flat, x, lambda: flat(x), lambda: joined(flat, [{OUTPUT: flat(one)} for one in x.split(1)])[OUTPUT]
    )


def with_rows(flat: FlatModel, x: Tensor, keys: Sequence[str], least: int = 5) -> set[str]:
    """Which of the keys hold tensors with the samples first, of one row or several for each.

    Runs of two samples, each alone and both together, tell them from sizes, positions, tokens that come before samples,
    and from what a batch norm without statistics of its own makes of a batch. These are made once. For less than
    `least` samples they are not worth their while, and none is said to, so that an answer does not depend on what was
    asked before.
    """
    if len(x) < least:
        return set()
    if known_to_take_one(flat, x):  # whatever is there is of the one sample
        return set(keys)
    known, about = _WITH_ROWS.setdefault(flat, {}), (x.shape[1:], x.dtype, x.device)
    found = known.setdefault(about, {})
    of_samples = flat.program.reached(flat.inputs) - set(flat.inputs)
    new = [key for key in dict.fromkeys(keys) if key not in found and key in of_samples]
    if new:
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            pair = pair_like(x)
            one, other, both = (flat.run({flat.inputs[0]: some}, new) for some in (pair[:1], pair[1:], pair))
        found |= {key: _joins(both[key], one[key], other[key]) for key in new}
    return {key for key in keys if found.get(key, False)}


_WITH_ROWS: Memo[FlatModel, dict[Any, dict[str, bool]]] = Memo()


def _joins(both: Any, one: Any, other: Any) -> bool:
    """Whether what is of two samples is what is of one, and then what is of the other."""
    leaves = [pytree.tree_leaves(value) for value in (both, one, other)]
    return len({len(some) for some in leaves}) == 1 and all(map(_is_joined, *leaves))


def _is_joined(both: Any, one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or one.ndim == 0 or one.shape != other.shape:
        return False
    joined = torch.cat([one, other])
    if both.shape != joined.shape or one.numel() == 0 or not one.is_floating_point():
        return torch.equal(both, joined)
    # rows of tokens that come before samples are as many, in another order; rounding depends on the number of samples
    rounding = torch.finfo(one.dtype).eps ** (1 / 3) * joined.nan_to_num(0, 0, 0).abs().amax()
    return torch.allclose(both, joined, rtol=0, atol=float(rounding), equal_nan=True)


def _rows(flat: FlatModel, x: Tensor, keys: Sequence[str]) -> dict[str, Any]:
    """The values at those of the keys that have the samples first, in tensors or tuples of them."""
    asked = list(with_rows(flat, x, keys))
    if not asked:
        return {}

    def run(first: int, last: int) -> dict[str, Any]:
        return flat.run({flat.inputs[0]: x[first:last]}, asked)

    if are_copies(x):
        return pytree.tree_map(lambda value: repeated(value, len(x)), run(0, 1))
    parts = list(in_chunks(len(x), None, run))
    return pytree.tree_map(lambda *rows: torch.cat(rows), *parts)


def repeated(value: Tensor, n: int) -> Tensor:
    """An activation of one sample as that of n copies."""
    rows = value.expand(n, *value.shape)
    # what is of windows has several rows per sample, which no view can repeat
    return rows[:, 0] if len(value) == 1 else rows.flatten(0, 1)

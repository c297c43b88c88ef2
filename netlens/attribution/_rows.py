"""The rows of an activation: which of them belong to which sample of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from netlens.attribution._probes import pair_like
from netlens.attribution._sample_axis import rows_by_layers
from netlens.attribution.singly import noted_to_take_one
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.running import tapped_visit
from netlens.memo import Memo


def per_sample(key: str, value: Tensor, n: int) -> Tensor:
    """An activation with one row per sample. With k windows per sample, (n * k, ...) becomes (n, k, ...)."""
    if value.ndim and len(value) == n:
        return value
    if value.ndim and len(value) % n == 0:
        rows: Tensor = value.unflatten(0, (n, -1))
        return rows
    raise rows_of_no_sample(key, value, n)


def rows_of_no_sample(key: str, value: Tensor, n: int) -> NotApplicable:
    """The error for an activation whose rows do not belong to the n samples."""
    return NotApplicable(f"layer {key!r} gives {tuple(value.shape)} for {n} samples, so its rows belong to no sample.")


def real_tensor(key: str, value: Any) -> Tensor:
    """The activation at `key`. An activation that cannot have a gradient raises `NotApplicable`."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise NotApplicable(f"layer {key!r} gives no tensor of real numbers ({type(value).__name__}); choose another.")
    return value


def check_rows(flat: FlatModel, x: Tensor, values: Mapping[str, Any]) -> None:
    """Raise `NotApplicable` if the rows of an activation of x are not one or several rows of each sample.

    The number of rows alone does not tell this, so a run may be needed. While hooks listen, no run is made.
    """
    if tapped_visit(flat) is not None:
        return
    in_rows = [key for key, value in values.items() if any(_has_rows(leaf, x) for leaf in pytree.tree_leaves(value))]
    if not in_rows:
        return
    others = flat.program.reached(flat.inputs) - with_rows(flat, x, in_rows, least=1) - set(flat.inputs)
    for key in in_rows:
        if key in others:
            raise NotApplicable(
                f"the rows of layer {key!r} do not belong to samples (those of tokens may come first), so only single "
                "samples, unchanged, can be explained there."
            )


def _has_rows(value: Any, x: Tensor) -> bool:
    """Whether the rows of a value could be taken for the wrong samples: there are several rows, or several samples."""
    return isinstance(value, Tensor) and value.ndim > 0 and len({len(value), len(x), 1}) > 1


def with_rows(flat: FlatModel, x: Tensor, keys: Sequence[str], least: int = 5) -> set[str]:
    """The keys whose tensors have the samples first, with one or several rows per sample.

    If the operations of all layers up to a key are known, they answer. For other keys, two samples run alone and
    together, once for each key. These runs distinguish such tensors from sizes, from positions, from tensors with
    tokens first, and from the results of a batch norm without its own statistics. With fewer than `least` samples the
    caller gains nothing, so the answer is empty, whatever earlier calls have found.
    """
    if len(x) < least:
        return set()
    if noted_to_take_one(flat, x):  # every row belongs to the only sample
        return set(keys)
    derived = rows_by_layers(flat, x.ndim)
    unclear = [key for key in dict.fromkeys(keys) if key not in derived]
    probed = rows_by_probe(flat, x, unclear) if unclear else set()
    return {key for key in keys if key in derived or key in probed}


def rows_by_probe(flat: FlatModel, x: Tensor, keys: Sequence[str]) -> set[str]:
    """Those of the keys whose tensors have the samples first. Runs of two samples show this."""
    answers = _WITH_ROWS.of(flat, (x.shape[1:], x.dtype, x.device), dict)
    new = [key for key in keys if key not in answers]
    from_input = flat.program.reached(flat.inputs) - set(flat.inputs) if new else set()
    new = [key for key in new if key in from_input]
    if new:
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            pair = pair_like(flat, x)
            one, other, both = (flat.run({flat.inputs[0]: samples}, new) for samples in (pair[:1], pair[1:], pair))
        answers |= {key: _joins(both[key], one[key], other[key]) for key in new}
    return {key for key in keys if answers.get(key, False)}


_WITH_ROWS: Memo[FlatModel, dict[str, bool]] = Memo()


def _joins(both: Any, one: Any, other: Any) -> bool:
    """Whether the value of two samples is the value of the first, followed by the value of the second."""
    leaves = [pytree.tree_leaves(value) for value in (both, one, other)]
    return len({len(tensors) for tensors in leaves}) == 1 and all(map(_is_joined, *leaves))


def _is_joined(both: Any, one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or one.ndim == 0 or one.shape != other.shape:
        return False
    joined = torch.cat([one, other])
    if both.shape != joined.shape or one.numel() == 0 or not one.is_floating_point():
        return torch.equal(both, joined)
    # a tensor with tokens first has as many rows, in another order; rounding depends on the number of samples
    rounding = torch.finfo(one.dtype).eps ** (1 / 3) * joined.nan_to_num(0, 0, 0).abs().amax()
    return torch.allclose(both, joined, rtol=0, atol=float(rounding), equal_nan=True)

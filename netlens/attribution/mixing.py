"""Samples that change each other when they run together: in which layers, and whether an objective keeps them apart.

The layers answer where their operations are known. Else a probe does, once for inputs of one shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from netlens.attribution._probes import close, kind_of, pair_like, probed
from netlens.attribution._sample_axis import samples_stay_apart
from netlens.attribution._sample_rules import over_batch
from netlens.attribution.singly import needs_whole, noted_to_take_one
from netlens.flat import FlatModel
from netlens.flat.running import Tap
from netlens.memo import Memo
from netlens.objectives import Objective, Record


def mixing(flat: FlatModel, x: Tensor) -> tuple[str, ...]:
    """The keys of layers in which samples that run together change each other, such as a norm over the batch.

    If there are norms over the batch, these are the norms alone. Otherwise, unless the operations show that samples
    stay apart, these are all layers (opaque ones too) whose values for two samples together differ from the values for
    each sample alone. A network that takes only one sample has none. For a network that runs the batch, but no single
    sample, it is the first output.
    """
    if noted_to_take_one(flat, x):
        return ()

    def find() -> tuple[str, ...]:
        norms = [step.key for step in flat.program.steps if over_batch(step.layer)]
        if norms or samples_stay_apart(flat, x.ndim):
            return tuple(norms)
        return flat.program.outputs[:1] if len(x) > 1 and needs_whole(flat, x) is not None else mixing_by_runs(flat, x)

    return _MIXING.of(flat, kind_of(x), find)


def count_together(flat: FlatModel, x: Tensor, objective: Objective) -> int | None:
    """How many rows must run together as one batch: the n samples of x if they affect each other, else None.

    Samples affect each other if layers mix them, or if the objective does not give each sample its own number.
    """
    return len(x) if mixing(flat, x) or not (objective.splits or _splits(flat, x, objective)) else None


_MIXING: Memo[FlatModel, tuple[str, ...]] = Memo()


def mixing_by_runs(flat: FlatModel, x: Tensor) -> tuple[str, ...]:
    """The keys of layers whose values for two samples together differ from the values for each sample alone."""
    pair, outputs = pair_like(flat, x), flat.program.outputs
    # mixing in an opaque part may change the output for some samples only, so the values of the part are compared too
    watched = tuple(dict.fromkeys((*outputs, *flat.opaque)))
    runs = [probed(flat, samples, watched) for samples in (pair[:1], pair[1:], pair)]
    if not _mixed(*runs):
        return ()
    again = probed(flat, pair, watched)
    if _mixed_leaves(again, runs[2], None):  # the network draws random numbers, so runs cannot be compared
        return ()
    keys = [step.key for step in flat.program.steps if not step.hidden]
    reached = flat.program.reached(flat.inputs) - set(flat.inputs)
    wanted = [key for key in keys if key in reached and key in _leading_to(flat, outputs)]
    one, other = (probed(flat, samples, wanted) for samples in (pair[:1], pair[1:]))
    if isinstance(one, Exception) or isinstance(other, Exception):
        return ()
    finder = _Finder(flat, wanted, one, other)
    probed(flat, pair, outputs, finder)
    return tuple(finder.mixing)


def _leading_to(flat: FlatModel, outputs: Sequence[str]) -> set[str]:
    needed = set(outputs)
    for step in reversed(flat.program.steps):
        if step.key in needed:
            needed.update(step.reads)
    return needed


class _Finder(Tap):
    """Finds the layers that mix two samples. After each, the run continues with the unmixed values."""

    def __init__(self, flat: FlatModel, keys: Sequence[str], one: dict[str, Any], other: dict[str, Any]) -> None:
        super().__init__(flat, keys)
        self.one, self.other = one, other
        self.mixing: list[str] = []

    def value(self, key: str, value: Any) -> Any:
        if not _mixed_leaves(value, self.one[key], self.other[key]):
            return value
        self.mixing.append(key)
        return _side_by_side(value, self.one[key], self.other[key])


def _side_by_side(both: Any, one: Any, other: Any) -> Any:
    """The values of two samples, joined along the dimension along which `both` holds them; else `both` itself."""
    if isinstance(both, Tensor) and isinstance(one, Tensor) and isinstance(other, Tensor):
        for dim in range(one.ndim):
            if both.shape == (*one.shape[:dim], one.shape[dim] + other.shape[dim], *one.shape[dim + 1 :]):
                return torch.cat([one, other], dim)
    return both


def _mixed(one: Any, other: Any, both: Any) -> bool:
    if any(isinstance(run, Exception) for run in (one, other, both)):
        return False
    return _mixed_leaves(both, one, other)


def _mixed_leaves(both: Any, one: Any, other: Any) -> bool:
    """Whether the values of two samples that run together differ from the values of each sample that runs alone.

    The comparison ignores where a value lies in its tensor. If `other` is None, `both` is compared with `one` alone.
    """
    if isinstance(both, Exception) or isinstance(one, Exception):
        return False
    leaves = [pytree.tree_leaves(value) for value in (both, one)]
    leaves.append([None] * len(leaves[1]) if other is None else pytree.tree_leaves(other))
    return len({len(tensors) for tensors in leaves}) > 1 or any(map(_differ, *leaves))


def _differ(both: Any, one: Any, other: Any) -> bool:
    if not isinstance(both, Tensor) or not both.is_floating_point() or not isinstance(one, Tensor):
        return False
    if both.shape == one.shape and (other is None or close(one, other)):
        return not close(both, one)  # such a value belongs to neither sample, as that of positions does
    parts = [one.flatten()] if other is None else [one.flatten(), other.flatten()]
    numbers, expected = both.flatten().sort().values, torch.cat(parts).sort().values
    return numbers.shape != expected.shape or not close(numbers, expected)


def _splits(flat: FlatModel, x: Tensor, objective: Objective) -> bool:
    """Whether an objective gives each of two samples its own number, although it does not say so."""
    pair, keys = pair_like(flat, x), flat.keys_of(objective.layers)
    values = []
    for samples in (pair[:1], pair[1:], pair):
        run = probed(flat, samples, keys)
        value = run if isinstance(run, Exception) else _evaluated(objective, Record(flat, run))
        if not isinstance(value, Tensor) or value.shape != (len(samples),):
            return False
        values.append(value)
    return close(values[2], torch.cat(values[:2]))


def _evaluated(objective: Objective, record: Record) -> Tensor | Exception:
    try:
        with torch.no_grad():
            return objective(record)
    except Exception as error:  # the objective may need another number of samples
        return error

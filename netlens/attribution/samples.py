"""How a network takes samples: whether samples that run together change each other, and whether it takes several.

Runs of the network answer both questions, once for inputs of one shape. No hooks listen to these runs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

from netlens.errors import NetLensWarning, NonFiniteError
from netlens.fast.chunks import out_of_memory
from netlens.flat import FlatModel
from netlens.flat.keys import OUTPUT
from netlens.flat.memory import unmetered
from netlens.flat.operations import Trait, has_known_forward, innermost, operation_of
from netlens.flat.running import Tap, tapped, untapped
from netlens.memo import Memo
from netlens.objectives import Objective, Record

T = TypeVar("T")


def mixing(flat: FlatModel, x: Tensor) -> tuple[str, ...]:
    """The keys of layers in which samples that run together change each other, such as a norm over the batch.

    These are norms without running statistics, and all layers (opaque ones too) whose numbers for two samples together
    differ from those for each sample alone. A network that takes only one sample has none.
    """
    if known_to_take_one(flat, x):
        return ()

    def find() -> tuple[str, ...]:
        norms = [step.key for step in flat.program.steps if _over_batch(step.layer)]
        apart = all(_is_apart(step.layer) for step in flat.program.steps if not step.hidden)
        return tuple(norms) if norms or apart else _mixing_by_runs(flat, x)

    return _MIXING.of(flat, _kind_of(x), find)


def count_together(flat: FlatModel, x: Tensor, objective: Objective) -> int | None:
    """How many rows must run together as one batch: the n samples of x if they affect each other, else None.

    Samples affect each other if layers mix them, or if the objective does not give each sample its own number.
    """
    return len(x) if mixing(flat, x) or not (objective.splits or _splits(flat, x, objective)) else None


def takes_one(flat: FlatModel, x: Tensor) -> str | None:
    """Why a network takes one sample like those of x, but not two of them. None if it takes two."""

    def tries() -> str | None:
        one, two = x[:1].clone(), x[:1].repeat(2, *[1] * (x.ndim - 1))
        outputs = [key for key in flat.program.outputs if key in flat.program.reached(flat.inputs)]
        alone, both = (_tried(flat, samples, outputs) for samples in (one, two))
        return None if isinstance(alone, Exception) else _refusal(both, alone)

    return _TAKES_ONE.of(flat, _kind_of(x), tries)


def known_to_take_one(flat: FlatModel, x: Tensor) -> bool:
    """Whether an earlier run showed that the network takes only one sample at a time. This runs nothing."""
    return _TAKES_ONE.known(flat, _kind_of(x)) is not None


def whole_or_singly(flat: FlatModel, x: Tensor, whole: Callable[[], T], singly: Callable[[], T]) -> T:
    """The result of `whole`. If it fails because the network takes only one sample at a time, the result of `singly`.

    The first such failure warns. Only a failure causes the runs that show the reason.
    """
    if known_to_take_one(flat, x):
        return singly()
    try:
        return whole()
    except Exception as error:
        # a sample that is broken or too large would fail alone, too
        if isinstance(error, NonFiniteError) or out_of_memory(error):
            raise
        why = takes_one(flat, x)
        if why is None:
            raise
    if not _WARNED.known(flat):
        _WARNED.note(flat, None, True)
        warnings.warn(
            f"{flat.name} takes only one sample at a time, so samples and variants run one by one: {why}",
            NetLensWarning,
            stacklevel=5,
        )
    return singly()


def joined(flat: FlatModel, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The values of a batch by key, joined from those of its samples. Values that ignore the input are taken once."""
    from_input = flat.program.reached(flat.inputs)
    return {
        key: pytree.tree_map(_cat, *(part[key] for part in parts)) if key in {*from_input, OUTPUT} else parts[0][key]
        for key in parts[0]
    }


def pair_like(x: Tensor) -> Tensor:
    """Two samples of the shape of those of x. They differ in their statistics and at every place."""
    if not x.is_floating_point():
        return x[[0, -1]]
    noise = torch.randn(2, *x.shape[1:], generator=torch.Generator().manual_seed(0)).to(x)
    return torch.cat([noise[:1], noise[1:] / 4 + 1])


_MIXING: Memo[FlatModel, tuple[str, ...]] = Memo()
_WARNED: Memo[FlatModel, bool] = Memo()
_TAKES_ONE: Memo[FlatModel, str | None] = Memo()


def _kind_of(x: Tensor) -> tuple[Any, ...]:
    return x.shape[1:], x.dtype, x.device


def _cat(*values: Any) -> Any:
    return torch.cat(values) if isinstance(values[0], Tensor) and values[0].ndim else values[0]


def _over_batch(layer: nn.Module) -> bool:
    inner: Any = innermost(layer)
    return isinstance(inner, _BatchNorm) and inner.running_mean is None


def _is_apart(layer: nn.Module) -> bool:
    """Whether the type of a layer shows that no sample affects another in it."""
    inner = innermost(layer)
    flattens = isinstance(inner, nn.Flatten) and inner.start_dim > 0
    return flattens or (operation_of(inner).has(Trait.BY_SAMPLE) and has_known_forward(inner))


def _tried(flat: FlatModel, x: Tensor, keys: Sequence[str], tap: Tap | None = None) -> dict[str, Any] | Exception:
    """The values at these keys, or the error of the network if it fails on these samples."""
    try:
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False), unmetered(), untapped():
            if tap is None:
                return flat.run({flat.inputs[0]: x}, keys)
            with tapped(tap):
                return flat.run({flat.inputs[0]: x}, keys)
    except Exception as error:
        if out_of_memory(error):
            raise
        return error


def _refusal(both: dict[str, Any] | Exception, alone: dict[str, Any]) -> str | None:
    if isinstance(both, Exception):
        return str(both).strip().split("\n")[0]
    two, one = (
        [leaf.shape for leaf in pytree.tree_leaves(run) if isinstance(leaf, Tensor) and leaf.ndim]
        for run in (both, alone)
    )
    return "it gives no more for two samples than for one." if two == one and two else None


def _mixing_by_runs(flat: FlatModel, x: Tensor) -> tuple[str, ...]:
    pair, outputs = pair_like(x), flat.program.outputs
    # mixing in an opaque part may change the output for some samples only, so its own values are compared too
    watched = tuple(dict.fromkeys((*outputs, *flat.opaque)))
    runs = [_tried(flat, samples, watched) for samples in (pair[:1], pair[1:], pair)]
    if not _mixed(*runs):
        return ()
    again = _tried(flat, pair, watched)
    if _mixed_leaves(again, runs[2], None):  # the network draws random numbers, so runs cannot be compared
        return ()
    keys = [step.key for step in flat.program.steps if not step.hidden]
    reached = flat.program.reached(flat.inputs) - set(flat.inputs)
    wanted = [key for key in keys if key in reached and key in _leading_to(flat, outputs)]
    one, other = (_tried(flat, samples, wanted) for samples in (pair[:1], pair[1:]))
    if isinstance(one, Exception) or isinstance(other, Exception):
        return ()
    finder = _Finder(flat, wanted, one, other)
    _tried(flat, pair, outputs, finder)
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
    """Whether the numbers of two samples together differ from those of each alone, wherever these lie.

    An `other` of None has no numbers.
    """
    if isinstance(both, Exception) or isinstance(one, Exception):
        return False
    leaves = [pytree.tree_leaves(value) for value in (both, one)]
    leaves.append([None] * len(leaves[1]) if other is None else pytree.tree_leaves(other))
    return len({len(tensors) for tensors in leaves}) > 1 or any(map(_differ, *leaves))


def _differ(both: Any, one: Any, other: Any) -> bool:
    if not isinstance(both, Tensor) or not both.is_floating_point() or not isinstance(one, Tensor):
        return False
    if both.shape == one.shape and (other is None or _close(one, other)):
        return not _close(both, one)  # such a value, for example of positions, belongs to neither sample
    parts = [one.flatten()] if other is None else [one.flatten(), other.flatten()]
    numbers, expected = both.flatten().sort().values, torch.cat(parts).sort().values
    return numbers.shape != expected.shape or not _close(numbers, expected)


def _close(numbers: Tensor, expected: Tensor) -> bool:
    """Whether both are equal up to rounding, which depends on how many samples run together."""
    if numbers.shape != expected.shape:
        return False
    size = expected.nan_to_num(0, 0, 0).abs().amax() if expected.numel() else 0
    rounding = torch.finfo(expected.dtype).eps ** 0.4 * float(size)
    return torch.allclose(numbers, expected.to(numbers.dtype), rtol=0, atol=rounding, equal_nan=True)


def _splits(flat: FlatModel, x: Tensor, objective: Objective) -> bool:
    """Whether an objective gives each of two samples its own number, although it does not say so."""
    pair, keys = pair_like(x), flat.keys_of(objective.layers)
    values = []
    for samples in (pair[:1], pair[1:], pair):
        run = _tried(flat, samples, keys)
        value = run if isinstance(run, Exception) else _evaluated(objective, Record(flat, run))
        if not isinstance(value, Tensor) or value.shape != (len(samples),):
            return False
        values.append(value)
    return _close(values[2], torch.cat(values[:2]))


def _evaluated(objective: Objective, record: Record) -> Tensor | Exception:
    try:
        with torch.no_grad():
            return objective(record)
    except Exception as error:  # the objective may need another number of samples
        return error

"""How a network takes samples: whether those that run together change each other, and whether it takes several at all.

Both are found out by runs of the network, once for inputs of one shape, in which no hooks listen.
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
from netlens.flat.memo import Memo
from netlens.flat.meter import unmetered
from netlens.flat.model import OUTPUT
from netlens.flat.operations import has_known_forward, innermost, operation_of
from netlens.flat.taps import Tap, tapped, untapped
from netlens.flat.traits import Trait
from netlens.objectives import Objective, Record

T = TypeVar("T")


def mixing(flat: FlatModel, x: Tensor) -> tuple[str, ...]:
    """The keys of layers by which samples that run together change each other, such as a norm over the batch.

    Those are norms without statistics of their own; and layers of whatever kind, opaque ones too, that give two samples
    together other numbers than each of them alone. None where the network takes but one.
    """
    if known_to_take_one(flat, x):
        return ()
    known, about = _MIXING.setdefault(flat, {}), _about(x)
    if about not in known:
        norms = [step.key for step in flat.program.steps if _over_batch(step.layer)]
        apart = all(_is_apart(step.layer) for step in flat.program.steps if not step.hidden)
        known[about] = tuple(norms) if norms or apart else _found_mixing(flat, x)
    return known[about]


def count_together(flat: FlatModel, x: Tensor, objective: Objective) -> int | None:
    """How many rows have to run together, as one batch: the n samples of x, where these influence each other.

    That is where layers mix samples, or where the objective is not each sample's own. None where nothing does.
    """
    return len(x) if mixing(flat, x) or not (objective.splits or _splits(flat, x, objective)) else None


def takes_one(flat: FlatModel, x: Tensor) -> str | None:
    """Why a network that takes a sample like those of x alone does not take two of them; None where it does."""
    known, about = _TAKES_ONE.setdefault(flat, {}), _about(x)
    if about not in known:
        one, two = x[:1].clone(), x[:1].repeat(2, *[1] * (x.ndim - 1))
        told = [key for key in flat.program.outputs if key in flat.program.reached(flat.inputs)]
        alone, both = (_tried(flat, some, told) for some in (one, two))
        known[about] = None if isinstance(alone, Exception) else _refusal(both, alone)
    return known[about]


def known_to_take_one(flat: FlatModel, x: Tensor) -> bool:
    """Whether it was found out that the network takes single samples only; runs nothing."""
    return _TAKES_ONE.get(flat, {}).get(_about(x)) is not None


def whole_or_singly(flat: FlatModel, x: Tensor, whole: Callable[[], T], singly: Callable[[], T]) -> T:
    """What `whole` gives; where that fails as the network takes one sample only, what `singly` gives, said once.

    Nothing is run to find that out before something fails.
    """
    if known_to_take_one(flat, x):
        return singly()
    try:
        return whole()
    except Exception as error:
        # what is broken or too large alone is so among others
        if isinstance(error, NonFiniteError) or out_of_memory(error):
            raise
        why = takes_one(flat, x)
        if why is None:
            raise
    if not _TOLD.get(flat):
        _TOLD[flat] = True
        warnings.warn(
            f"{flat.name} takes only one sample at a time, so samples and variants run one by one: {why}",
            NetLensWarning,
            stacklevel=5,
        )
    return singly()


def joined(flat: FlatModel, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Values by key of single samples as those of the batch; what does not depend on the input is of all of them."""
    of_samples = flat.program.reached(flat.inputs)
    return {
        key: pytree.tree_map(_cat, *(part[key] for part in parts)) if key in {*of_samples, OUTPUT} else parts[0][key]
        for key in parts[0]
    }


def pair_like(x: Tensor) -> Tensor:
    """Two samples like those of x, of other statistics, whose parts all differ, unlike those of one color."""
    if not x.is_floating_point():
        return x[[0, -1]]
    noise = torch.randn(2, *x.shape[1:], generator=torch.Generator().manual_seed(0)).to(x)
    return torch.cat([noise[:1], noise[1:] / 4 + 1])


_MIXING: Memo[FlatModel, dict[Any, tuple[str, ...]]] = Memo()
_TOLD: Memo[FlatModel, bool] = Memo()
_TAKES_ONE: Memo[FlatModel, dict[Any, str | None]] = Memo()


def _about(x: Tensor) -> tuple[Any, ...]:
    return x.shape[1:], x.dtype, x.device


def _cat(*values: Any) -> Any:
    return torch.cat(values) if isinstance(values[0], Tensor) and values[0].ndim else values[0]


def _over_batch(layer: nn.Module) -> bool:
    inner: Any = innermost(layer)
    return isinstance(inner, _BatchNorm) and inner.running_mean is None


def _is_apart(layer: nn.Module) -> bool:
    """Whether the type of a layer tells that it reads each sample by itself."""
    inner = innermost(layer)
    flattens = isinstance(inner, nn.Flatten) and inner.start_dim > 0
    return flattens or (operation_of(inner).has(Trait.BY_SAMPLE) and has_known_forward(inner))


def _tried(flat: FlatModel, x: Tensor, keys: Sequence[str], tap: Tap | None = None) -> dict[str, Any] | Exception:
    """The values at these keys, or how the network failed on samples that may not be to its liking."""
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


def _found_mixing(flat: FlatModel, x: Tensor) -> tuple[str, ...]:
    pair, outputs = pair_like(x), flat.program.outputs
    # what an opaque part mixes may be seen in the output for some samples only
    watched = tuple(dict.fromkeys((*outputs, *flat.opaque)))
    runs = [_tried(flat, some, watched) for some in (pair[:1], pair[1:], pair)]
    if not _mixed(*runs):
        return ()
    again = _tried(flat, pair, watched)
    if _mixed_leaves(again, runs[2], None):  # it draws lots, so that no two runs tell anything
        return ()
    keys = [step.key for step in flat.program.steps if not step.hidden]
    reached = flat.program.reached(flat.inputs) - set(flat.inputs)
    wanted = [key for key in keys if key in reached and key in _leading_to(flat, outputs)]
    one, other = (_tried(flat, some, wanted) for some in (pair[:1], pair[1:]))
    if isinstance(one, Exception) or isinstance(other, Exception):
        return ()
    finder = _Finder(flat, wanted, one, other)
    _tried(flat, pair, outputs, finder)
    return tuple(finder.found)


def _leading_to(flat: FlatModel, outputs: Sequence[str]) -> set[str]:
    needed = set(outputs)
    for step in reversed(flat.program.steps):
        if step.key in needed:
            needed.update(step.reads)
    return needed


class _Finder(Tap):
    """Finds the layers that mix two samples; behind each, the run goes on as if it had not."""

    def __init__(self, flat: FlatModel, keys: Sequence[str], one: dict[str, Any], other: dict[str, Any]) -> None:
        super().__init__(flat, keys)
        self.one, self.other = one, other
        self.found: list[str] = []

    def value(self, key: str, value: Any) -> Any:
        if not _mixed_leaves(value, self.one[key], self.other[key]):
            return value
        self.found.append(key)
        return _side_by_side(value, self.one[key], self.other[key])


def _side_by_side(both: Any, one: Any, other: Any) -> Any:
    """Two samples' values where these lie in what is of both; what is of both where they lie nowhere."""
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
    """Whether numbers of two samples are others than those of each, wherever they lie; `other` of None has none."""
    if isinstance(both, Exception) or isinstance(one, Exception):
        return False
    leaves = [pytree.tree_leaves(value) for value in (both, one)]
    leaves.append([None] * len(leaves[1]) if other is None else pytree.tree_leaves(other))
    return len({len(some) for some in leaves}) > 1 or any(map(_differ, *leaves))


def _differ(both: Any, one: Any, other: Any) -> bool:
    if not isinstance(both, Tensor) or not both.is_floating_point() or not isinstance(one, Tensor):
        return False
    if both.shape == one.shape and (other is None or _close(one, other)):
        return not _close(both, one)  # of neither sample alone, as positions are
    parts = [one.flatten()] if other is None else [one.flatten(), other.flatten()]
    found, expected = both.flatten().sort().values, torch.cat(parts).sort().values
    return found.shape != expected.shape or not _close(found, expected)


def _close(found: Tensor, expected: Tensor) -> bool:
    """Equal to rounding, which depends on how many samples run together."""
    if found.shape != expected.shape:
        return False
    size = expected.nan_to_num(0, 0, 0).abs().amax() if expected.numel() else 0
    rounding = torch.finfo(expected.dtype).eps ** 0.4 * float(size)
    return torch.allclose(found, expected.to(found.dtype), rtol=0, atol=rounding, equal_nan=True)


def _splits(flat: FlatModel, x: Tensor, objective: Objective) -> bool:
    """Whether an objective that does not say so gives each of two samples a number of its own."""
    pair, keys = pair_like(x), flat.keys_of(objective.layers)
    values = []
    for some in (pair[:1], pair[1:], pair):
        run = _tried(flat, some, keys)
        value = run if isinstance(run, Exception) else _evaluated(objective, Record(flat, run))
        if not isinstance(value, Tensor) or value.shape != (len(some),):
            return False
        values.append(value)
    return _close(values[2], torch.cat(values[:2]))


def _evaluated(objective: Objective, record: Record) -> Tensor | Exception:
    try:
        with torch.no_grad():
            return objective(record)
    except Exception as error:  # one made for another number of samples
        return error

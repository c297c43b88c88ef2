"""Networks that take only one sample at a time: how a failure shows it, and how their samples run one by one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from netlens.attribution._probes import kind_of, probed
from netlens.errors import NetLensWarning, NonFiniteError, NotApplicable
from netlens.fast.chunks import out_of_memory
from netlens.flat import FlatModel
from netlens.flat.keys import OUTPUT
from netlens.memo import Memo

T = TypeVar("T")


def takes_one(flat: FlatModel, x: Tensor) -> str | None:
    """Why a network takes one sample like those of x, but not two of them. None if two samples run."""

    def tries() -> str | None:
        one, two = x[:1].clone(), x[:1].repeat(2, *[1] * (x.ndim - 1))
        outputs = [key for key in flat.program.outputs if key in flat.program.reached(flat.inputs)]
        alone, both = (probed(flat, samples, outputs) for samples in (one, two))
        return None if isinstance(alone, Exception) else _refusal(both, alone)

    return _TAKES_ONE.of(flat, kind_of(x), tries)


def needs_several(flat: FlatModel, x: Tensor) -> bool:
    """Whether a network that does not run one sample like those of x runs two of them."""
    return not isinstance(probed(flat, x[:1].repeat(2, *[1] * (x.ndim - 1)), flat.program.outputs), Exception)


def needs_whole(flat: FlatModel, x: Tensor) -> str | None:
    """Why the network does not run one sample of x, although it runs all of them together; else None."""
    alone = probed(flat, x[:1], flat.program.outputs)
    if not isinstance(alone, Exception) or isinstance(probed(flat, x, flat.program.outputs), Exception):
        return None
    return str(alone).strip().split("\n")[0]


def noted_to_take_one(flat: FlatModel, x: Tensor) -> bool:
    """Whether an earlier run showed that the network takes only one sample at a time. The network does not run."""
    return _TAKES_ONE.answer(flat, kind_of(x)) is not None


def whole_or_singly(flat: FlatModel, x: Tensor, whole: Callable[[], T], singly: Callable[[], T]) -> T:
    """The result of `whole`. If it fails because the network takes only one sample at a time, the result of `singly`.

    The first such failure warns. Only a failure causes the runs that show the reason.

    Raises:
        NotApplicable: The network runs the batch, but no single sample, and `whole` needs that.
    """
    if noted_to_take_one(flat, x):
        return singly()
    try:
        result = whole()
        # a part of `whole` may have found out; then this call gives the same bits as all later ones
        return singly() if noted_to_take_one(flat, x) else result
    except Exception as error:
        # a sample that is broken or too large would fail alone, too
        if isinstance(error, NonFiniteError) or out_of_memory(error):
            raise
        why = takes_one(flat, x)
        if why is None:
            other = needs_whole(flat, x)
            if other is None:
                raise
            raise NotApplicable(
                f"{flat.name} runs with {len(x)} samples, but not with one ({other}), so only methods that run the "
                "batch as it is can explain it, such as saliency. Data of each sample that the network holds can be a "
                "second input: NetLens(network, (x, data))."
            ) from error
    if not _WARNED.answer(flat):
        _WARNED.note(flat, None, True)
        warnings.warn(
            f"{flat.name} takes only one sample at a time, so samples and variants run one by one: {why}",
            NetLensWarning,
            stacklevel=5,
        )
    return singly()


def joined(flat: FlatModel, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The values of a batch by key, joined from the values of samples. Values that ignore the input are taken once."""
    from_input = flat.program.reached(flat.inputs)
    return {
        key: pytree.tree_map(_cat, *(part[key] for part in parts)) if key in {*from_input, OUTPUT} else parts[0][key]
        for key in parts[0]
    }


_WARNED: Memo[FlatModel, bool] = Memo()
_TAKES_ONE: Memo[FlatModel, str | None] = Memo()


def _cat(*values: Any) -> Any:
    return torch.cat(values) if isinstance(values[0], Tensor) and values[0].ndim else values[0]


def _refusal(both: dict[str, Any] | Exception, alone: dict[str, Any]) -> str | None:
    if isinstance(both, Exception):
        return str(both).strip().split("\n")[0]
    two, one = (
        [leaf.shape for leaf in pytree.tree_leaves(run) if isinstance(leaf, Tensor) and leaf.ndim]
        for run in (both, alone)
    )
    return "it gives no more for two samples than for one." if two == one and two else None

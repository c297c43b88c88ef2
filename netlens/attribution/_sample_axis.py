"""The dimension of the samples, followed through the layers: which values have one row per sample, and why.

The operations and their arguments tell this, without a run. Behind a layer that no rule knows, the answer is open.
"""

from __future__ import annotations

from netlens.attribution._sample_rules import Other, Parts, Rows, State, state_after
from netlens.flat import FlatModel
from netlens.memo import Memo


def rows_by_layers(flat: FlatModel, ndim: int) -> frozenset[str]:
    """The keys whose tensors have the samples first, one row each, for an input of `ndim` dimensions.

    The tensors of other keys may have the samples first, too; the layers do not tell.
    """
    return _ROWS.of(flat, ndim, lambda: _rows(flat, ndim))


def samples_stay_apart(flat: FlatModel, ndim: int) -> bool:
    """Whether the layers tell that no sample affects another, for an input of `ndim` dimensions.

    If not, the question is open: samples may affect each other or not.
    """
    states = _states(flat, ndim)
    return all(states[step.key] is not Other.UNKNOWN for step in flat.program.steps if not step.hidden)


_ROWS: Memo[FlatModel, frozenset[str]] = Memo()


def _rows(flat: FlatModel, ndim: int) -> frozenset[str]:
    states = _states(flat, ndim)
    return frozenset(step.key for step in flat.program.steps if isinstance(states[step.key], Rows | Parts))


def _states(flat: FlatModel, ndim: int) -> dict[str, State]:
    """The state of each value by key, as far as the layers tell it."""
    states: dict[str, State] = dict.fromkeys(flat.inputs, Other.UNKNOWN)
    if len(flat.inputs) == 1:
        states[flat.inputs[0]] = Rows(ndim)
    for step in flat.program.steps:
        states[step.key] = state_after(step.layer, [states[key] for key in step.reads])
    return states

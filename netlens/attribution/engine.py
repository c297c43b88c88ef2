"""Gradients of an objective and activations at any layers, for the methods that need a backward run."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from netlens.attribution._rows import check_rows, per_sample
from netlens.attribution._run import Run, shared_run
from netlens.attribution._strategies import Task, strategy_for
from netlens.flat import FlatModel, Rules
from netlens.objectives import Objective


def gradient_of(
    flat: FlatModel, x: Tensor, objective: Objective, wrt: str = "input", rules: Rules | None = None
) -> tuple[Tensor, Tensor]:
    """The activation at `wrt` (n, ...) and the gradient of the objective there, by rules if given.

    The backward run ends at `wrt`.
    """
    activations, gradients = gradients_of(flat, x, objective, (wrt,), rules)
    return activations[0], gradients[0]


def gradients_of(
    flat: FlatModel, x: Tensor, objective: Objective, wrt: Sequence[str], rules: Rules | None = None
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The activations and gradients at several layers, from one forward and one backward run."""
    keys = [flat.key(name) for name in wrt]
    run = shared_run(flat, x) if rules is None else None
    if run is None or objective is not run.objective or not run.gradients.keys() >= set(keys):
        run = forward_and_backward(flat, x, objective, keys, rules)
    activations = tuple(per_sample(key, run.activations[key], len(x)) for key in keys)
    return activations, tuple(run.gradients[key] for key in keys)


def forward_and_backward(
    flat: FlatModel, x: Tensor, objective: Objective, keys: Sequence[str], rules: Rules | None = None
) -> Run:
    """Run forward and backward once, for the activations and the gradients of the objective at these exact keys.

    The samples of a batch run in chunks that fit, and copies of one image share a forward run. If hooks, rules or the
    objective need the whole batch, the batch runs as one (`strategy_for`).
    """
    task = Task.of(flat, x, objective, keys, rules)
    values, activations, gradients = strategy_for(task)(task)
    activation_at, gradient_at = (dict(zip(keys, tensors, strict=True)) for tensors in (activations, gradients))
    if len(x) > 1:  # the rows of a single sample need no check
        check_rows(flat, x, {key: value for key, value in activation_at.items() if len(value) != len(x)})
    return Run(flat, x, objective, activation_at, gradient_at, values)

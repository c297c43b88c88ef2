"""One forward and backward run: the values of an objective, and its gradients at some layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from netlens.attribution._rows import per_sample, real_tensor
from netlens.attribution.batch import repeated
from netlens.errors import NotApplicable
from netlens.flat import FlatModel
from netlens.flat.running import Tap, differentiating, tapped
from netlens.objectives import Objective, Record


class Pass(NamedTuple):
    """The result of a forward and backward run on n samples.

    `values` (n,) are the objective. `activations` and `gradients` hold one tensor for each key at which the run reads.
    """

    values: Tensor
    activations: list[Tensor]
    gradients: list[Tensor]


def forward_backward(
    flat: FlatModel, runner: FlatModel, x: Tensor, objectives: Sequence[Objective], keys: Sequence[str]
) -> Pass:
    """Run `runner` forward once, and backward once for each objective. Errors name `flat`.

    With one objective, x is a batch. With several, x is one image, and each objective belongs to one copy of it.
    """
    with differentiating(), tapped(_Starts(runner, keys)) as starts:
        record = record_for(objectives[0], runner, x, keys)
        points = [starts.points[key] for key in keys]
        last = len(objectives) - 1
        values, gradients = [], []
        for place, objective in enumerate(objectives):
            values.append(evaluated(objective, record, len(x)))
            gradients.append(differentiated(flat, objective, values[-1], keys, points, again=place < last))
    activations = [point.detach() for point in points]
    if last > 0:
        activations = [repeated(point, len(objectives)) for point in activations]
    return Pass(torch.cat(values).detach(), activations, [torch.cat(rows) for rows in zip(*gradients, strict=True)])


def record_for(objective: Objective, flat: FlatModel, x: Tensor, also: Sequence[str] = ()) -> Record:
    """The record that an objective reads: the activations of one run up to the last layer that it, or `also`, names."""
    keys = list(dict.fromkeys([*flat.keys_of(objective.layers), *also]))
    return Record(flat, flat.record(x, layers=keys))


def evaluated(objective: Objective, record: Record, n: int) -> Tensor:
    """(n,): the objective of each of n samples."""
    values = objective(record)
    if values.shape != (n,):
        raise NotApplicable(f"{objective} gives {tuple(values.shape)} numbers for {n} samples; it must give ({n},).")
    return values


def differentiated(
    flat: FlatModel,
    objective: Objective,
    values: Tensor,
    keys: Sequence[str],
    points: Sequence[Tensor],
    again: bool = False,
) -> tuple[Tensor, ...]:
    """The gradients of the value (n,) of each sample at the points, which are the activations at `keys`.

    `again` keeps the graph for another value of the same run.
    """
    gradients: Sequence[Tensor | None] = (None,)
    if values.requires_grad:
        # no sample affects another, so the gradient of the sum holds the gradient of each sample
        gradients = torch.autograd.grad(values.sum(), points, allow_unused=True, retain_graph=again)
    checked = []
    for key, gradient in zip(keys, gradients, strict=values.requires_grad):
        if gradient is None:
            raise NotApplicable(f"{objective} of {flat.name} does not depend on {key!r}, so it has no gradient there.")
        rows = per_sample(key, gradient, len(values))
        # the derivative of a rectifier at NaN is 0 or 1, so the gradient of a broken value can look healthy
        broken = ~torch.isfinite(values.detach()).view(-1, *[1] * (rows.ndim - 1))
        checked.append(rows.masked_fill(broken, torch.nan))
    return tuple(checked)


class _Starts(Tap):
    """Makes the activations at `keys` the points of the graph where gradients are read."""

    def __init__(self, flat: FlatModel, keys: Sequence[str]) -> None:
        super().__init__(flat, keys)
        self.points: dict[str, Tensor] = {}

    def value(self, key: str, value: Any) -> Any:
        tensor = real_tensor(key, value)
        self.points[key] = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
        return self.points[key]

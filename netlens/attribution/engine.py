"""What all methods share: the value and the gradient of an objective with respect to any layer, in chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from netlens.attribution.batch import are_copies, batch_activations, repeated, with_rows
from netlens.attribution.recording import Recording, recording_of
from netlens.attribution.samples import mixing
from netlens.errors import NonFiniteError, NotApplicable
from netlens.fast.chunks import fitting, in_chunks
from netlens.fast.folded import fast
from netlens.fast.layout import arranged
from netlens.flat import FlatModel, Rules
from netlens.flat.memo import Memo
from netlens.flat.meter import metered
from netlens.flat.modes import differentiating
from netlens.flat.rules import Ruled
from netlens.flat.taps import Tap, tapped, tapped_visit
from netlens.objectives import Objective, Record


def objective_record(flat: FlatModel, x: Tensor, objective: Objective, also: Sequence[str] = ()) -> Record:
    """The `Record` that an objective reads: the activations of one run up to the last layer that it or `also` reads."""
    keys = list(dict.fromkeys([*flat.keys_of(objective.layers), *also]))
    return Record(flat, flat.record(x, layers=keys))


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
    recording = recording_of(flat, x) if rules is None else None
    if recording is None or objective is not recording.objective or not recording.gradients.keys() >= set(keys):
        recording = forward_and_backward(flat, x, objective, keys, rules)
    activations = tuple(per_sample(key, recording.activations[key], len(x)) for key in keys)
    return activations, tuple(recording.gradients[key] for key in keys)


def forward_and_backward(
    flat: FlatModel, x: Tensor, objective: Objective, keys: Sequence[str], rules: Rules | None = None
) -> Recording:
    """Run forward and backward once, for the activations and the gradients of the objective at these exact keys.

    The samples of a batch run in chunks that fit, and copies of one image share a forward run. If hooks, rules or the
    objective need the whole batch, the batch runs as one.
    """
    twin = fast(flat, [*flat.keys_of(objective.layers), *keys])
    runner = twin if rules is None else twin.with_rules(rules)
    followed = tapped_visit(flat) is not None
    # a twin has only the rules of this call
    steps = () if rules is None and twin is not flat else runner.program.steps
    rules_in_use = [step.layer.rule for step in steps if isinstance(step.layer, Ruled)]

    def arrange(samples: Tensor) -> Tensor:
        return samples if followed else arranged(samples, twin)  # hooks get the memory format of the network itself

    def work(first: int, last: int) -> list[Tensor]:
        objective_of_chunk = objective if last - first == len(x) else objective.take(range(first, last))
        return _forward_backward(flat, runner, arrange(x[first:last]), [objective_of_chunk], keys)

    splits = len(x) > 1 and objective.splits and all(rule.splits for rule in rules_in_use) and not followed
    if not splits or mixing(flat, x) or not set(keys) <= flat.program.reached(flat.inputs):
        tensors = work(0, len(x))
    elif are_copies(x) and not rules_in_use and set(keys) <= {*flat.inputs, *with_rows(flat, x, keys)}:
        # a rule may propagate only once, and only a run of several samples shows an activation without a row per sample
        copies = [objective.take([copy]) for copy in range(len(x))]
        tensors = _forward_backward(flat, runner, arrange(x[:1]), copies, keys)
    else:
        size, rows = (None, None) if runner is flat else _measured(flat, x, keys, rules, work)
        tensors = _joined(keys, list(in_chunks(len(x), size, work)), rows)
    activations, gradients = (
        dict(zip(keys, part, strict=True)) for part in (tensors[1 : len(keys) + 1], tensors[len(keys) + 1 :])
    )
    if len(x) > 1:  # all rows of a single sample belong to it
        check_rows(flat, x, {key: value for key, value in activations.items() if len(value) != len(x)})
    return Recording(flat, x, objective, activations, gradients, tensors[0])


def _forward_backward(
    flat: FlatModel, runner: FlatModel, x: Tensor, objectives: Sequence[Objective], keys: Sequence[str]
) -> list[Tensor]:
    """The values, and then the activations and the gradients at the keys.

    With one objective, x is a batch. With several, x is one image, and each objective belongs to one copy of it.
    """
    with differentiating(), tapped(_Starts(runner, keys)) as starts:
        record = objective_record(runner, x, objectives[0], also=keys)
        points = [starts.points[key] for key in keys]
        last = len(objectives) - 1
        values, gradients = [], []
        for place, objective in enumerate(objectives):
            values.append(evaluated(objective, record, len(x)))
            gradients.append(differentiated(flat, objective, values[-1], keys, points, again=place < last))
    activations = [point.detach() for point in points]
    if last > 0:
        activations = [repeated(point, len(objectives)) for point in activations]
    return [torch.cat(values).detach(), *activations, *(torch.cat(rows) for rows in zip(*gradients, strict=True))]


def _joined(keys: Sequence[str], parts: list[list[Tensor]], rows: Sequence[int] | None) -> list[Tensor]:
    """The values, activations and gradients of a batch, joined from those of its chunks.

    `rows` is the number of rows per sample at each key. None takes it from the first chunk, which is then one sample.
    """
    expected = [len(activation) for activation in parts[0][1 : len(keys) + 1]] if rows is None else rows
    for part in parts:
        for key, activation, count in zip(keys, part[1 : len(keys) + 1], expected, strict=True):
            if len(activation) != count * len(part[0]):  # in a single batch, this would look like windows
                raise rows_of_no_sample(key, activation, len(part[0]))
    return parts[0] if len(parts) == 1 else [torch.cat(tensors) for tensors in zip(*parts, strict=True)]


def _measured(
    flat: FlatModel, x: Tensor, keys: Sequence[str], rules: Rules | None, work: Callable[[int, int], list[Tensor]]
) -> tuple[int, list[int]]:
    """How many samples of x run together, and the rows per sample at each key, measured once with one sample."""

    def measure() -> tuple[int, list[int]]:
        with metered() as meter:
            values = work(0, 1)
        return fitting(meter), [len(rows) for rows in values[1 : len(keys) + 1]]

    return _SIZES.of(flat, (x.shape[1:], x.dtype, x.device, tuple(keys), rules), measure)


_SIZES: Memo[FlatModel, tuple[int, list[int]]] = Memo()


def activations_of(flat: FlatModel, x: Tensor, keys: Sequence[str]) -> dict[str, Any]:
    """The activations at these exact keys, from the recording that methods share, or from a new run."""
    recording = recording_of(flat, x)
    return batch_activations(flat, x, keys) if recording is None else recording.activations_at(keys)


def evaluated(objective: Objective, record: Record, n: int) -> Tensor:
    """(n,): the objective of each of n samples."""
    value = objective(record)
    if value.shape != (n,):
        raise NotApplicable(f"{objective} gives {tuple(value.shape)} numbers for {n} samples; it must give ({n},).")
    return value


def differentiated(
    flat: FlatModel,
    objective: Objective,
    value: Tensor,
    keys: Sequence[str],
    points: Sequence[Tensor],
    again: bool = False,
) -> tuple[Tensor, ...]:
    """The gradients of the value (n,) of each sample at the points, which are the activations at `keys`.

    `again` keeps the graph for another value of the same run.
    """
    gradients: Sequence[Tensor | None] = (None,)
    if value.requires_grad:
        # no sample affects another, so the gradient of the sum holds the gradient of each sample
        gradients = torch.autograd.grad(value.sum(), points, allow_unused=True, retain_graph=again)
    checked = []
    for key, gradient in zip(keys, gradients, strict=value.requires_grad):
        if gradient is None:
            raise NotApplicable(f"{objective} of {flat.name} does not depend on {key!r}, so it has no gradient there.")
        rows = per_sample(key, gradient, len(value))
        # the derivative of a rectifier at NaN is 0 or 1, so the gradient of a broken value can look healthy
        broken = ~torch.isfinite(value.detach()).view(-1, *[1] * (rows.ndim - 1))
        checked.append(rows.masked_fill(broken, torch.nan))
    return tuple(checked)


def per_sample(key: str, value: Tensor, n: int) -> Tensor:
    """An activation with one row per sample. With k windows per sample, (n * k, ...) becomes (n, k, ...)."""
    if value.ndim and len(value) == n:
        return value
    if value.ndim and len(value) % n == 0:
        rows: Tensor = value.unflatten(0, (n, -1))
        return rows
    raise rows_of_no_sample(key, value, n)


def check_rows(flat: FlatModel, x: Tensor, values: Mapping[str, Any]) -> None:
    """Raise `NotApplicable` if the rows of an activation of x are not one or several rows of each sample.

    The number of rows alone does not tell this, so a run may be needed. While hooks listen, no run is made.
    """
    if tapped_visit(flat) is not None:
        return
    in_rows = [
        key
        for key, value in values.items()
        if any(
            isinstance(leaf, Tensor) and leaf.ndim and len({len(leaf), len(x), 1}) > 1 for leaf in tree_leaves(value)
        )
    ]
    others = flat.program.reached(flat.inputs) - with_rows(flat, x, in_rows, least=1) - set(flat.inputs)
    for key in in_rows:
        if key in others:
            raise NotApplicable(
                f"the rows of layer {key!r} do not belong to samples (those of tokens may come first), so only single "
                "samples, unchanged, can be explained there."
            )


def rows_of_no_sample(key: str, value: Tensor, n: int) -> NotApplicable:
    """The error for an activation whose rows do not belong to the n samples."""
    return NotApplicable(f"layer {key!r} gives {tuple(value.shape)} for {n} samples, so its rows belong to no sample.")


def real_tensor(key: str, value: Any) -> Tensor:
    """The activation at `key`. An activation that cannot have a gradient raises `NotApplicable`."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise NotApplicable(f"layer {key!r} gives no tensor of real numbers ({type(value).__name__}); choose another.")
    return value


class _Starts(Tap):
    """Makes the activations at `keys` the points of the graph where gradients are read."""

    def __init__(self, flat: FlatModel, keys: Sequence[str]) -> None:
        super().__init__(flat, keys)
        self.points: dict[str, Tensor] = {}

    def value(self, key: str, value: Any) -> Any:
        tensor = real_tensor(key, value)
        self.points[key] = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
        return self.points[key]


def check_finite(flat: FlatModel, x: Tensor, objective: Objective, values: Tensor, first: int = 0) -> None:
    """Raise `NonFiniteError` if `values` hold NaN or Inf. The error names the first such layer and its sample.

    `first` is the number of the first sample of x in the batch.
    """
    if all_finite(values):
        return
    with torch.no_grad(), tapped(_FiniteCheck(flat, len(x), first)):
        objective_record(flat, x, objective)
    sample = first + first_bad(values, len(x))
    raise NonFiniteError(
        f"the attribution of {objective} of {flat.name} holds NaN or Inf for sample {sample}, "
        "although every activation on the image itself is finite."
    )


def all_finite(values: Tensor) -> bool:
    """Whether no number is NaN or Inf. The check needs no memory of the size of the values."""
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    if values.numel() == 0 or not values.is_floating_point():
        return True
    # if any number is not finite, neither is an extreme; copies of one image have the extremes of the first
    low, high = (values[:1] if values.ndim and are_copies(values) else values).aminmax()
    return bool(low.isfinite() & high.isfinite())


class _FiniteCheck(Tap):
    def __init__(self, flat: FlatModel, n: int, first: int) -> None:
        super().__init__(flat)
        self.n, self.first = n, first

    def value(self, key: str, value: Any) -> Any:
        if isinstance(value, Tensor) and not all_finite(value):
            sample = self.first + first_bad(value, self.n)
            raise NonFiniteError(f"layer {key!r} of {self.flat.name} gives NaN or Inf for sample {sample}.")
        return value


def first_bad(values: Tensor, n: int) -> int:
    """The number of the first of n samples that holds NaN or Inf. Each sample may have several rows."""
    rows = values.reshape(max(1, len(values)) if values.ndim else 1, -1)
    bad = (~torch.isfinite(rows)).any(1)
    return int(bad.nonzero()[0]) * n // len(rows)

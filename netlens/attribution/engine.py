"""What all methods share: objectives evaluated and differentiated with respect to any layer, in chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from netlens.attribution.batch import are_copies, record_batch, repeated, with_rows
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


def record_of(flat: FlatModel, x: Tensor, objective: Objective, also: Sequence[str] = ()) -> Record:
    """One run that goes no further than the deepest layer that the objective (or `also`) reads."""
    keys = list(dict.fromkeys([*flat.keys_of(objective.layers), *also]))
    return Record(flat, flat.record(x, layers=keys))


def gradient_of(
    flat: FlatModel, x: Tensor, objective: Objective, wrt: str = "input", rules: Rules | None = None
) -> tuple[Tensor, Tensor]:
    """The activation at `wrt` and the objective's gradient there, by rules if any; backward goes no further."""
    activations, gradients = gradients_of(flat, x, objective, (wrt,), rules)
    return activations[0], gradients[0]


def gradients_of(
    flat: FlatModel, x: Tensor, objective: Objective, wrt: Sequence[str], rules: Rules | None = None
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """As `gradient_of`, at several layers in one forward and one backward."""
    keys = [flat.key(name) for name in wrt]
    recording = recording_of(flat, x) if rules is None else None
    if recording is None or objective is not recording.objective or not recording.gradients.keys() >= set(keys):
        recording = recorded(flat, x, objective, keys, rules)
    activations = tuple(per_sample(key, recording.activations[key], len(x)) for key in keys)
    return activations, tuple(recording.gradients[key] for key in keys)


def recorded(
    flat: FlatModel, x: Tensor, objective: Objective, keys: Sequence[str], rules: Rules | None = None
) -> Recording:
    """One forward and one backward, which give activations and the objective's gradients at these exact keys.

    The samples of a batch run in chunks that fit, and copies of one image share a forward, where nothing (hooks,
    rules, or an objective of the batch as one) follows the run of the whole.
    """
    twin = fast(flat, [*flat.keys_of(objective.layers), *keys])
    runner = twin if rules is None else twin.with_rules(rules)
    followed = tapped_visit(flat) is not None
    # a twin has no rules but those that it is given here
    steps = () if rules is None and twin is not flat else runner.program.steps
    own_rules = [step.layer.rule for step in steps if isinstance(step.layer, Ruled)]

    def arrange(some: Tensor) -> Tensor:
        return some if followed else arranged(some, twin)  # hooks see what the network would

    def work(first: int, last: int) -> list[Tensor]:
        own = objective if last - first == len(x) else objective.take(range(first, last))
        return _passed(flat, runner, arrange(x[first:last]), [own], keys)

    splits = len(x) > 1 and objective.splits and all(rule.splits for rule in own_rules) and not followed
    if not splits or mixing(flat, x) or not set(keys) <= flat.program.reached(flat.inputs):
        found = work(0, len(x))
    elif are_copies(x) and not own_rules and set(keys) <= {*flat.inputs, *with_rows(flat, x, keys)}:
        # rules may propagate once; an activation without a row per sample is for runs of several samples to show
        copies = [objective.take([copy]) for copy in range(len(x))]
        found = _passed(flat, runner, arrange(x[:1]), copies, keys)
    else:
        size, rows = (None, None) if runner is flat else _measured(flat, x, keys, rules, work)
        found = _joined(keys, list(in_chunks(len(x), size, work)), rows)
    at_keys, slopes = (
        dict(zip(keys, some, strict=True)) for some in (found[1 : len(keys) + 1], found[len(keys) + 1 :])
    )
    if len(x) > 1:  # of one sample all rows are its own
        check_rows(flat, x, {key: value for key, value in at_keys.items() if len(value) != len(x)})
    return Recording(flat, x, objective, at_keys, slopes, found[0])


def _passed(
    flat: FlatModel, runner: FlatModel, x: Tensor, objectives: Sequence[Objective], keys: Sequence[str]
) -> list[Tensor]:
    """Values, and then activations and gradients at the keys: of a batch x by one objective, or by one for each copy of
    the one image x."""
    with differentiating(), tapped(_Starts(runner, keys)) as starts:
        record = record_of(runner, x, objectives[0], also=keys)
        points = [starts.points[key] for key in keys]
        last = len(objectives) - 1
        values, gradients = [], []
        for place, own in enumerate(objectives):
            values.append(evaluated(own, record, len(x)))
            gradients.append(differentiated(flat, own, values[-1], keys, points, again=place < last))
    activations = [point.detach() for point in points]
    if last > 0:
        activations = [repeated(point, len(objectives)) for point in activations]
    return [torch.cat(values).detach(), *activations, *(torch.cat(rows) for rows in zip(*gradients, strict=True))]


def _joined(keys: Sequence[str], parts: list[list[Tensor]], rows: Sequence[int] | None) -> list[Tensor]:
    """Values, activations and gradients of chunks as those of the whole.

    rows: of each key per sample; None where the first chunk is one sample, whose rows say it.
    """
    expected = [len(own) for own in parts[0][1 : len(keys) + 1]] if rows is None else rows
    for part in parts:
        for key, activation, each in zip(keys, part[1 : len(keys) + 1], expected, strict=True):
            if len(activation) != each * len(part[0]):  # which a single batch would not tell from windows
                raise rows_of_no_sample(key, activation, len(part[0]))
    return parts[0] if len(parts) == 1 else [torch.cat(own) for own in zip(*parts, strict=True)]


def _measured(
    flat: FlatModel, x: Tensor, keys: Sequence[str], rules: Rules | None, work: Callable[[int, int], list[Tensor]]
) -> tuple[int, list[int]]:
    """How many samples of x run together, and the rows per sample at each key; measured once on one sample."""
    known, about = _SIZES.setdefault(flat, {}), (x.shape[1:], x.dtype, x.device, tuple(keys), rules)
    if about not in known:
        with metered() as meter:
            found = work(0, 1)
        known[about] = fitting(meter), [len(own) for own in found[1 : len(keys) + 1]]
    return known[about]


_SIZES: Memo[FlatModel, dict[Any, tuple[int, list[int]]]] = Memo()


def activations_of(flat: FlatModel, x: Tensor, keys: Sequence[str]) -> dict[str, Any]:
    """The activations at these exact keys, of a run that methods may share."""
    recording = recording_of(flat, x)
    return record_batch(flat, x, keys) if recording is None else recording.activations_at(keys)


def evaluated(objective: Objective, record: Record, n: int) -> Tensor:
    """The objective of each of n samples (n,)."""
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
    """The gradients of each sample's value at the points, which are the activations at `keys`.

    again: the graph is kept, for another value of the same run.
    """
    gradients: Sequence[Tensor | None] = (None,)
    if value.requires_grad:
        # the sum's gradient holds each sample's own, because no sample looks at another
        gradients = torch.autograd.grad(value.sum(), points, allow_unused=True, retain_graph=again)
    found = []
    for key, gradient in zip(keys, gradients, strict=value.requires_grad):
        if gradient is None:
            raise NotApplicable(f"{objective} of {flat.name} does not depend on {key!r}, so it has no gradient there.")
        rows = per_sample(key, gradient, len(value))
        # the derivative of a rectifier at NaN is 0 or 1, so the gradient of a broken value can look healthy
        broken = ~torch.isfinite(value.detach()).view(-1, *[1] * (rows.ndim - 1))
        found.append(rows.masked_fill(broken, torch.nan))
    return tuple(found)


def per_sample(key: str, value: Tensor, n: int) -> Tensor:
    """An activation with one row per sample; a layer with k windows per sample, n * k rows, becomes (n, k, ...)."""
    if value.ndim and len(value) == n:
        return value
    if value.ndim and len(value) % n == 0:
        return value.unflatten(0, (n, -1))
    raise rows_of_no_sample(key, value, n)


def check_rows(flat: FlatModel, x: Tensor, values: Mapping[str, Any]) -> None:
    """Raise where the rows of activations of x are not its samples', one or several for each, though as many.

    A single row of a single sample is its own. Where hooks listen, nothing is run to find out.
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
    """The error of an activation of n samples whose rows say nothing of which sample they are."""
    return NotApplicable(f"layer {key!r} gives {tuple(value.shape)} for {n} samples, so its rows belong to no sample.")


def real_tensor(key: str, value: Any) -> Tensor:
    """The activation at `key`, refused where there can be no gradient or change of it."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise NotApplicable(f"layer {key!r} gives no tensor of real numbers ({type(value).__name__}); choose another.")
    return value


class _Starts(Tap):
    """Makes the activations at `keys` the points that gradients are taken at."""

    def __init__(self, flat: FlatModel, keys: Sequence[str]) -> None:
        super().__init__(flat, keys)
        self.points: dict[str, Tensor] = {}

    def value(self, key: str, value: Any) -> Any:
        tensor = real_tensor(key, value)
        self.points[key] = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
        return self.points[key]


def check_finite(flat: FlatModel, x: Tensor, objective: Objective, values: Tensor, first: int = 0) -> None:
    """Raise `NonFiniteError` if `values` hold NaN or Inf, naming the first layer and the sample where they arose.

    first: the number of the first sample of x in the batch.
    """
    if all_finite(values):
        return
    with torch.no_grad(), tapped(_FiniteCheck(flat, len(x), first)):
        record_of(flat, x, objective)
    sample = first + first_bad(values, len(x))
    raise NonFiniteError(
        f"the attribution of {objective} of {flat.name} holds NaN or Inf for sample {sample}, "
        "although every activation on the image itself is finite."
    )


def all_finite(values: Tensor) -> bool:
    """Whether no number is NaN or Inf, found without memory of the size of the values."""
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    if values.numel() == 0 or not values.is_floating_point():
        return True
    # the extremes are not finite where any number is not; copies of one image have those of the first
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
    """The first of n samples with NaN or Inf, of which each may have several rows."""
    rows = values.reshape(max(1, len(values)) if values.ndim else 1, -1)
    bad = (~torch.isfinite(rows)).any(1)
    return int(bad.nonzero()[0]) * n // len(rows)

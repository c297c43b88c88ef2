"""What all methods share: objectives evaluated and differentiated with respect to any layer, in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from netlens.errors import NonFiniteError, NotApplicable
from netlens.flat import FlatModel
from netlens.flat.model import OUTPUT
from netlens.flat.taps import Tap, tapped
from netlens.objectives import Objective, Record


@contextmanager
def differentiating() -> Iterator[None]:
    """Gradients are recorded inside, also where the caller is under `no_grad` or `inference_mode`."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def record_of(flat: FlatModel, x: Tensor, objective: Objective, also: Sequence[str] = ()) -> Record:
    """One run that goes no further than the deepest layer that the objective (or `also`) reads."""
    keys = list(dict.fromkeys([*flat.keys_of(objective.layers), *also]))
    return Record(flat, flat.record(x, layers=keys))


def value_of(flat: FlatModel, x: Tensor, objective: Objective) -> Tensor:
    """(N,): the objective of each sample, without gradients."""
    with torch.no_grad():
        return objective(record_of(flat, x, objective))


def gradient_of(flat: FlatModel, x: Tensor, objective: Objective, wrt: str = "input") -> tuple[Tensor, Tensor]:
    """The activation at `wrt` and the objective's gradient there; backward goes no further than `wrt`."""
    activations, gradients = gradients_of(flat, x, objective, (wrt,))
    return activations[0], gradients[0]


def gradients_of(
    flat: FlatModel, x: Tensor, objective: Objective, wrt: Sequence[str]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """As `gradient_of`, at several layers in one forward and one backward."""
    keys = [flat.key(name) for name in wrt]
    with differentiating(), tapped(_Starts(flat, keys)) as starts:
        record = record_of(flat, x.detach().clone() if x.is_inference() else x.detach(), objective, also=keys)
        points = [starts.points[key] for key in keys]
        gradients = _differentiate(flat, objective, objective(record), keys, points)
    return tuple(point.detach() for point in points), gradients


def frontier_of(flat: FlatModel, x: Tensor, wrt: str) -> dict[str, Tensor]:
    """The activations from which everything after `wrt` can be computed, `wrt` among them."""
    with torch.no_grad():
        return flat.record(x.detach(), layers=list(dict.fromkeys((*flat.frontier(wrt), wrt))))


def value_from(flat: FlatModel, known: Mapping[str, Tensor], objective: Objective) -> Tensor:
    """(N,): the objective computed from known activations onwards, in the caller's gradient mode."""
    wanted = flat.keys_of(objective.layers)
    outputs = [key for name in wanted for key in (flat.program.outputs if name == OUTPUT else (name,))]
    if flat.program.missing(known, outputs):
        layers = ", ".join(map(repr, known))
        raise NotApplicable(f"{objective} of {flat.name} does not come after {layers}, so it does not depend on it.")
    return objective(Record(flat, {**known, **flat.run(known, wanted)}))


def gradient_from(
    flat: FlatModel, known: Mapping[str, Tensor], objective: Objective, wrt: str
) -> tuple[Tensor, Tensor]:
    """The objective (N,) and its gradient at `wrt`, computed from known activations onwards, `wrt` among them."""
    with differentiating():
        point = known[wrt].detach().requires_grad_()
        value = value_from(flat, {**known, wrt: point}, objective)
        return value.detach(), _differentiate(flat, objective, value, [wrt], [point])[0]


def _differentiate(
    flat: FlatModel, objective: Objective, value: Tensor, keys: Sequence[str], points: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    if not value.requires_grad:
        raise NotApplicable(f"{objective} of {flat.name} does not depend on {keys[0]!r}, so it has no gradient there.")
    # the sum's gradient holds each sample's own, because no sample looks at another
    gradients = torch.autograd.grad(value.sum(), points, allow_unused=True)
    for key, gradient in zip(keys, gradients, strict=True):
        if gradient is None:
            raise NotApplicable(f"{objective} of {flat.name} does not depend on {key!r}, so it has no gradient there.")
    return gradients


class _Starts(Tap):
    """Makes the activations at `keys` the points that gradients are taken at."""

    def __init__(self, flat: FlatModel, keys: Sequence[str]) -> None:
        super().__init__(flat)
        self.keys = set(keys)
        self.points: dict[str, Tensor] = {}

    def value(self, key: str, value: Any) -> Any:
        if key not in self.keys:
            return value
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise NotApplicable(f"layer {key!r} gives no real tensor, so there is no gradient there.")
        self.points[key] = value if value.requires_grad else value.detach().requires_grad_()
        return self.points[key]


def in_chunks(total: int, size: int, work: Callable[[int, int], Any]) -> Iterator[Any]:
    """`work(start, stop)` over `range(total)`, `size` at a time; halves the size when memory runs out and goes on."""
    start = 0
    while start < total:
        stop = min(start + size, total)
        try:
            result = work(start, stop)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _out_of_memory(error) or stop - start == 1:
                raise
            size = (stop - start) // 2
            continue
        yield result
        start = stop


def _out_of_memory(error: Exception) -> bool:
    # on the CPU, torch has no error class of its own for it
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def check_finite(flat: FlatModel, x: Tensor, what: str, values: Tensor) -> None:
    """Raise `NonFiniteError` if `values` hold NaN or Inf, naming the first layer and the sample where they arose."""
    if torch.isfinite(values).all():
        return
    with torch.no_grad(), tapped(_FiniteCheck(flat)):
        flat(x)
    sample = _first_bad(values)
    raise NonFiniteError(f"{what} of {flat.name} is not finite for sample {sample}, although every activation is.")


class _FiniteCheck(Tap):
    def value(self, key: str, value: Any) -> Any:
        if isinstance(value, Tensor) and not torch.isfinite(value).all():
            raise NonFiniteError(f"{key!r} gives NaN or Inf for sample {_first_bad(value)}.")
        return value


def _first_bad(values: Tensor) -> int:
    return int((~torch.isfinite(values)).flatten(1).any(1).nonzero()[0]) if values.ndim > 1 else 0

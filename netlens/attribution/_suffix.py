"""The part of a network after one of its layers, as a function of the activation of that layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from netlens.attribution._backward import differentiated, evaluated
from netlens.attribution._copies import Copies, digests
from netlens.attribution._rows import check_rows, per_sample, real_tensor
from netlens.attribution.activations import activations_of
from netlens.attribution.mixing import mixing
from netlens.errors import NotApplicable
from netlens.fast import fast
from netlens.fast.chunks import in_chunks
from netlens.flat import FlatModel
from netlens.flat.keys import OUTPUT
from netlens.flat.running import differentiating, tapped_visit
from netlens.objectives import Objective, Record


@dataclass(frozen=True)
class Suffix:
    """The objective as a function of the activation at `wrt`. Its other inputs keep their values on the n samples.

    A row is the index of a sample of the original batch. An index may repeat, so many variants of a few samples run in
    chunks.
    """

    flat: FlatModel
    objective: Objective
    wrt: str
    feeds: Mapping[str, Any]  # the values at a cut of the network after `wrt`, and earlier values of the objective
    shared: frozenset[str]  # the keys of feeds that depend on weights alone, so they have no rows of samples
    n: int
    runner: FlatModel  # the network, or its fast version, which runs the part after `wrt`
    copies: Copies | None  # None if the samples are not copies of one image

    @classmethod
    def of(cls, flat: FlatModel, x: Tensor, objective: Objective, wrt: str, many: bool = False) -> Suffix:
        """Run the network on x (n, ...) up to `wrt`, once. For `many` later runs, the suffix uses the fast version."""
        fetches = flat.keys_of(objective.layers)
        after = flat.program.reached([wrt])
        if not after.isdisjoint(flat.program.outputs):
            after.add(OUTPUT)
        earlier = [key for key in fetches if key not in after]
        if len(earlier) == len(fetches):
            raise NotApplicable(f"{objective} of {flat.name} does not come after {wrt!r}, so it does not depend on it.")
        if wrt not in flat.program.reached(flat.inputs):
            raise NotApplicable(
                f"{wrt!r} of {flat.name} does not depend on the input, so it has no rows of samples that a method "
                "could change one by one; choose a layer that does."
            )
        with torch.no_grad():
            feeds = activations_of(flat, x, list(dict.fromkeys((*flat.frontier(wrt), wrt, *earlier))))
        real_tensor(wrt, feeds[wrt])
        mixed = [key for key in mixing(flat, x) if key in after and key != wrt]
        if mixed:
            raise NotApplicable(
                f"{mixed[0]!r} of {flat.name} normalizes over the batch, or mixes its samples in another way, so "
                "variants that run together would change each other; give a norm running statistics, or choose a "
                "method of one run, such as Saliency."
            )
        shared = frozenset(feeds) - flat.program.reached(flat.inputs)
        check_rows(flat, x, feeds)
        runner = fast(flat, keep=(*feeds, *fetches)) if many else flat
        return cls(flat, objective, wrt, feeds, shared, len(x), runner, Copies.of(x, objective))

    @property
    def activation(self) -> Tensor:
        """(n, ...): the activation at `wrt`."""
        return per_sample(self.wrt, self.feeds[self.wrt], self.n)

    def value(self, rows: Sequence[int], activation: Tensor) -> Tensor:
        """(rows,): the objective of these samples with the activations `activation` (rows, ...)."""
        if self.copies is not None and not torch.is_grad_enabled() and tapped_visit(self.flat) is None:
            run = lambda chosen: self._record([rows[index] for index in chosen], activation[chosen])  # noqa: E731
            return self.copies.value(rows, list(digests(activation)), run)
        return evaluated(self.objective.take(rows), self._record(rows, activation), len(rows))

    def values(self, activation: Tensor) -> Tensor:
        """(n,): the objective of all samples with the activations `activation` (n, ...), in chunks that fit."""
        return self._each(self.value, activation)

    def gradients(self, activation: Tensor) -> Tensor:
        """(n, ...): the gradient of the objective of all samples at `activation` (n, ...), in chunks that fit."""
        return self._each(self.gradient, activation)

    def _each(self, work: Callable[[Sequence[int], Tensor], Tensor], activation: Tensor) -> Tensor:
        size = None if self.objective.splits else self.n
        return torch.cat(
            list(in_chunks(self.n, size, lambda first, last: work(range(first, last), activation[first:last])))
        )

    def _record(self, rows: Sequence[int], activation: Tensor) -> Record:
        values = self._with(rows, activation)
        return Record(self.flat, {**values, **self.runner.run(values, self.flat.keys_of(self.objective.layers))})

    def one(self, sample: int) -> dict[str, Any]:
        """The values of one sample that the runner starts from, by key."""
        return self._with([sample], self.activation[[sample]])

    def _with(self, rows: Sequence[int], activation: Tensor) -> dict[str, Any]:
        values = {key: value if key in self.shared else self._rows_of(key, rows) for key, value in self.feeds.items()}
        return values | {self.wrt: activation.reshape(-1, *self.feeds[self.wrt].shape[1:])}

    def gradient(self, rows: Sequence[int], activation: Tensor) -> Tensor:
        """(rows, ...): the gradient of `value` at `activation`."""
        return self.slope(rows, activation)[1]

    def slope(self, rows: Sequence[int], activation: Tensor) -> tuple[Tensor, Tensor]:
        """`value` (rows,) and its gradient (rows, ...) at `activation`, from one run."""
        with differentiating():
            point = activation.detach().requires_grad_()
            value = self.value(rows, point)
            return value.detach(), differentiated(self.flat, self.objective, value, [self.wrt], [point])[0]

    def _rows_of(self, key: str, rows: Sequence[int]) -> Any:
        def take(value: Tensor) -> Tensor:
            chosen = per_sample(key, value, self.n)[list(rows)]
            return chosen if len(value) == self.n else chosen.flatten(0, 1)

        # the caller replaces the activation at `wrt` itself
        return None if key == self.wrt else pytree.tree_map_only(Tensor, take, self.feeds[key])

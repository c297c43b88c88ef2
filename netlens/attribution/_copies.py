"""Copies of one image, each with its own objective: the runs that all copies need are made once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from netlens.attribution._backward import evaluated
from netlens.attribution.batch import are_copies
from netlens.objectives import Objective, Record


@dataclass
class Copies:
    """The objectives of n copies of one image, one target each. A variant of the image runs once, for all n targets.

    The n values of a variant are kept under its digest. When another copy has the same variant, nothing runs again.
    """

    objective: Objective
    n: int
    _values: dict[bytes, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, x: Tensor, objective: Objective) -> Copies | None:
        """The copies in x (n, ...). None if x is not one expanded image, or if the objective needs the whole batch."""
        return cls(objective, len(x)) if are_copies(x) and objective.splits else None

    def value(self, rows: Sequence[int], variants: Sequence[bytes], run: Callable[[list[int]], Record]) -> Tensor:
        """(rows,): the objective of these copies, each on its variant. `run` takes the indices of variants."""
        new = {variant: index for index, variant in enumerate(variants) if variant not in self._values}
        if new:
            record, count = run(list(new.values())), len(new)
            for_all = [evaluated(self.objective.take([copy] * count), record, count) for copy in range(self.n)]
            self._values.update(zip(new, torch.stack(for_all, 1), strict=True))
        return torch.stack([self._values[variant][row] for variant, row in zip(variants, rows, strict=True)])


def digests(tensor: Tensor) -> Iterator[bytes]:
    """A digest of each row of a tensor, which identifies the row."""
    for row in tensor.detach().cpu().contiguous():
        # a dimension of size 1 may have any stride, and only a reshape to one dimension removes it
        yield hashlib.blake2b(row.reshape(-1).view(torch.uint8).numpy(), digest_size=16).digest()

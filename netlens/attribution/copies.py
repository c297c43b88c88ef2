"""Copies of one image, explained by an objective each: what is the same for all of them runs once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from netlens.attribution.batch import are_copies
from netlens.attribution.engine import evaluated
from netlens.objectives import Objective, Record


@dataclass
class Copies:
    """The values of variants of one image, for the objectives of all its n copies; each variant runs once.

    What is kept of a variant is n numbers and its digest, by which it is known when the next copy asks for it.
    """

    objective: Objective
    n: int
    _values: dict[bytes, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, x: Tensor, objective: Objective) -> Copies | None:
        """None where x (n, ...) is not one image that was expanded to several samples, or these count only together."""
        return cls(objective, len(x)) if are_copies(x) and objective.splits else None

    def value(self, rows: Sequence[int], variants: Sequence[bytes], run: Callable[[list[int]], Record]) -> Tensor:
        """(rows,): the objective of these copies, each as a variant; `run` takes the places of variants to a run."""
        new = {variant: place for place, variant in enumerate(variants) if variant not in self._values}
        if new:
            record, count = run(list(new.values())), len(new)
            for_all = [evaluated(self.objective.take([copy] * count), record, count) for copy in range(self.n)]
            self._values.update(zip(new, torch.stack(for_all, 1), strict=True))
        return torch.stack([self._values[variant][row] for variant, row in zip(variants, rows, strict=True)])


def digests(tensor: Tensor) -> Iterator[bytes]:
    """What tells one row of a tensor from all others."""
    for row in tensor.detach().cpu().contiguous():
        # a single place may have any stride, which only a line is rid of
        yield hashlib.blake2b(row.reshape(-1).view(torch.uint8).numpy(), digest_size=16).digest()

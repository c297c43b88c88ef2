"""The best candidate of an optimizer, for each sample."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Best:
    """Final: keeps, for each row of candidates (n, ...), the one with the highest value (n,). Of equals, the first.

    >>> best = Best()
    >>> best.offer(torch.tensor([1.0, 5.0]), torch.tensor([10.0, 50.0]))
    >>> best.offer(torch.tensor([2.0, 4.0]), torch.tensor([20.0, 40.0]))
    >>> best.candidate.tolist(), best.value.tolist()
    ([20.0, 50.0], [2.0, 5.0])
    """

    _best: list[Tensor] = field(default_factory=list)

    @property
    def value(self) -> Tensor:
        return self._best[0]

    @property
    def candidate(self) -> Tensor:
        return self._best[1]

    def offer(self, value: Tensor, candidate: Tensor) -> None:
        """Keep the rows that are better than all before. A row whose first value is not finite becomes NaN."""
        as_rows = (-1, *[1] * (candidate.ndim - 1))
        if not self._best:
            self._best = [value, candidate.masked_fill(~value.isfinite().view(as_rows), torch.nan)]
            return
        better = value > self.value
        self._best = [
            torch.where(better, value, self.value),
            torch.where(better.view(as_rows), candidate, self.candidate),
        ]

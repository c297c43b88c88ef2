"""NaN and Inf in values: an error names the first layer that gives them, and the sample."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from netlens.attribution._backward import record_for
from netlens.errors import NonFiniteError
from netlens.finite import all_finite, first_bad
from netlens.flat import FlatModel
from netlens.flat.running import Tap, tapped
from netlens.objectives import Objective


def check_finite(flat: FlatModel, x: Tensor, objective: Objective, values: Tensor, first: int = 0) -> None:
    """Raise `NonFiniteError` if `values` hold NaN or Inf. The error names the first such layer and its sample.

    `first` is the number of the first sample of x in the batch.
    """
    if all_finite(values):
        return
    with torch.no_grad(), tapped(_FiniteCheck(flat, len(x), first)):
        record_for(objective, flat, x)
    sample = first + first_bad(values, len(x))
    raise NonFiniteError(
        f"the attribution of {objective} of {flat.name} holds NaN or Inf for sample {sample}, "
        "although every activation on the image itself is finite."
    )


class _FiniteCheck(Tap):
    def __init__(self, flat: FlatModel, n: int, first: int) -> None:
        super().__init__(flat)
        self.n, self.first = n, first

    def value(self, key: str, value: Any) -> Any:
        if isinstance(value, Tensor) and not all_finite(value):
            sample = self.first + first_bad(value, self.n)
            raise NonFiniteError(f"layer {key!r} of {self.flat.name} gives NaN or Inf for sample {sample}.")
        return value

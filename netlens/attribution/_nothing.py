"""Explanations that found nothing: all values of a sample are 0."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from netlens.errors import NetLensWarning
from netlens.objectives import Objective

NOTHING = "found_nothing"
"""The name of the diagnostic (N,), 1 for a sample whose values are all 0. Without such a sample, it is left out."""


def note_nothing(
    method: str, objective: Objective, key: str, values: Tensor, diagnostics: Mapping[str, Tensor], relu: bool
) -> Mapping[str, Tensor]:
    """The diagnostics of an attribution. If all values of a sample are 0, they say so, and a warning does.

    `relu` says whether the method has set negative values to 0.
    """
    empty = ~values.flatten(1).any(1)
    if not bool(empty.any()):
        return diagnostics
    samples = empty.nonzero().flatten().tolist()
    which = "" if len(values) == 1 else f" for sample {', '.join(map(str, samples))}"
    advice = "relu=False keeps negative values, or take another layer" if relu else "take another layer or method"
    warnings.warn(
        f"{method} found nothing{which}: all values for {objective} at {key!r} are 0, so the map is empty; {advice}.",
        NetLensWarning,
        stacklevel=4,
    )
    return {**diagnostics, NOTHING: empty.to(torch.float64)}

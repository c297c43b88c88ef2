"""Reuse of memory: a rectifier may overwrite an activation that nobody else reads or can see."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from netlens.flat.layers import Add

if TYPE_CHECKING:
    from netlens.flat.program import Schedule

# these give a tensor of their own, which no other name can mean, and need it for no gradient
_MAKERS = {nn.Conv2d, nn.BatchNorm2d, nn.Linear, Add}
# the gradient of these follows from what they give; the others need what they got
_INVERTIBLE: dict[type[nn.Module], Callable[..., Any]] = {nn.ReLU: F.relu, nn.ReLU6: F.relu6}
_RECTIFIERS = {**_INVERTIBLE, nn.SiLU: F.silu, nn.Hardswish: F.hardswish}


def overwriters(schedule: Schedule, held: Collection[str]) -> dict[str, Callable[..., Any]]:
    """For each step that may work in place of its input: what to call instead of its layer.

    The numbers are the same; a run only spares the memory, as the original does with its in-place layers. What lies at
    the `held` keys stays as it is.
    """
    rectifiers = _INVERTIBLE if torch.is_grad_enabled() else _RECTIFIERS
    makers = {step.key for step, _ in schedule if type(step.layer) in _MAKERS and step.key not in held}
    return {
        step.key: partial(rectifiers[type(step.layer)], inplace=True)
        for step, dead in schedule
        if type(step.layer) in rectifiers and len(step.reads) == 1 and step.reads[0] in makers.intersection(dead)
    }


def may_overwrite(schedule: Schedule) -> bool:
    """Whether no hook of torch's own holds on to an activation."""
    return not any(step.layer._forward_hooks or step.layer._forward_pre_hooks for step, _ in schedule)

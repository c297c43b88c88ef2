"""Reuse of memory: a rectifier may overwrite an activation that nobody else reads or can see."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from netlens.flat.layers import Add

if TYPE_CHECKING:
    from netlens.flat.program import Schedule

# these give a tensor of their own, which no other name can mean
_MAKERS = {nn.Conv2d, nn.BatchNorm2d, nn.Linear, Add}
_RECTIFIERS: dict[type[nn.Module], Callable[..., Any]] = {
    nn.ReLU: F.relu,
    nn.ReLU6: F.relu6,
    nn.SiLU: F.silu,
    nn.Hardswish: F.hardswish,
}


def overwriters(schedule: Schedule) -> dict[str, Callable[..., Any]]:
    """For each step that may work in place of its input: what to call instead of its layer.

    The numbers are the same; a forward only spares the memory, as the original does with its in-place layers.
    """
    makers = {step.key for step, _ in schedule if type(step.layer) in _MAKERS}
    return {
        step.key: partial(_RECTIFIERS[type(step.layer)], inplace=True)
        for step, dead in schedule
        if type(step.layer) in _RECTIFIERS and len(step.reads) == 1 and step.reads[0] in makers.intersection(dead)
    }


def may_overwrite(schedule: Schedule) -> bool:
    """Whether nobody can notice: no gradient is recorded, and no hook of torch's own holds on to an activation."""
    if torch.is_grad_enabled():
        return False
    return not any(step.layer._forward_hooks or step.layer._forward_pre_hooks for step, _ in schedule)

"""Memory layouts: maps have channels last, which is the fastest for convolutions, unless a layer depends on it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netlens.flat import FlatModel
from netlens.flat.layers import Again, Scatter
from netlens.flat.operations import is_foreign, is_kind
from netlens.flat.running import Program
from netlens.memo import Memo


def layout(program: Program) -> torch.memory_format:
    """The memory format in which the layers of a program may get maps.

    It is contiguous if the output of a layer may depend on the format. This is so for modules and functions of the
    user, which may need views that exist only in contiguous memory. It is also so for writes into views, because the
    format decides whether an operation makes a view or a copy.
    """
    noticeable = any(_may_notice(step.layer) for step in program.steps)
    return torch.contiguous_format if noticeable else torch.channels_last


def arranged(x: Tensor, flat: FlatModel) -> Tensor:
    """The same tensor in the memory format that is the fastest for this network. Only maps (N, C, H, W) change."""
    if x.ndim != 4:
        return x
    memory_format = _LAYOUTS.of(flat, None, lambda: layout(flat.program))
    return x.contiguous(memory_format=torch.channels_last) if memory_format is torch.channels_last else x


_LAYOUTS: Memo[FlatModel, torch.memory_format] = Memo()


def _may_notice(layer: nn.Module) -> bool:
    return is_kind(layer, (Scatter, Again)) or is_foreign(layer)

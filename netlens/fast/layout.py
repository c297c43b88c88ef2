"""How activations lie in memory: channels last, which convolutions are fastest on, unless a layer could notice."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netlens.flat.layers import Again, Scatter
from netlens.flat.memo import Memo
from netlens.flat.model import FlatModel
from netlens.flat.operations import is_foreign, is_kind
from netlens.flat.program import Program


def layout(program: Program) -> torch.memory_format:
    """The memory format in which maps may be handed to the layers of a program.

    Modules and functions of the user's own may ask for views that other formats do not have, and where a view is
    written into, it depends on the format whether this reaches the base.
    """
    own = any(_may_notice(step.layer) for step in program.steps)
    return torch.contiguous_format if own else torch.channels_last


def arranged(x: Tensor, flat: FlatModel) -> Tensor:
    """The same values, in memory as this network reads them fastest."""
    if x.ndim != 4:
        return x
    if flat not in _LAYOUTS:
        _LAYOUTS[flat] = layout(flat.program)
    return x.contiguous(memory_format=torch.channels_last) if _LAYOUTS[flat] is torch.channels_last else x


_LAYOUTS: Memo[FlatModel, torch.memory_format] = Memo()


def _may_notice(layer: nn.Module) -> bool:
    return is_kind(layer, (Scatter, Again)) or is_foreign(layer)

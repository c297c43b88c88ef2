"""How activations lie in memory: channels last, which convolutions are fastest on, unless a layer could notice."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netlens.flat.layers import Again, Function, Opaque, Scatter, Wrapper
from netlens.flat.program import Program

_KNOWN = ("torch", "torchvision", "_operator", "operator", "builtins", "math", "netlens", "adapters")


def layout(program: Program) -> torch.memory_format:
    """The memory format in which maps may be handed to the layers of a program.

    Modules and functions of the user's own may ask for views that other formats do not have, and where a view is
    written into, it depends on the format whether this reaches the base.
    """
    own = any(_may_notice(step.layer) for step in program.steps)
    return torch.contiguous_format if own else torch.channels_last


def arranged(x: Tensor, program: Program) -> Tensor:
    """The same values, in memory as this program reads them fastest."""
    last = x.ndim == 4 and layout(program) is torch.channels_last
    return x.contiguous(memory_format=torch.channels_last) if last else x


def _may_notice(layer: nn.Module) -> bool:
    while isinstance(layer, Wrapper):
        layer = layer.inner
    if isinstance(layer, Function):
        module = getattr(layer.function, "__module__", None) or "torch"  # methods of tensors have none
        return module.split(".")[0] not in _KNOWN
    return isinstance(layer, (Opaque, Scatter, Again))

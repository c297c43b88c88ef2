"""The modules that a trace keeps as one layer."""

from __future__ import annotations

import torchvision
from torch import nn
from torch.nn.utils import parametrize

from netlens.flat.layers import Piece
from netlens.flat.operations import is_added

_LEAVES = (Piece, torchvision.ops.StochasticDepth, torchvision.ops.FrozenBatchNorm2d, torchvision.ops.DeformConv2d)
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def is_leaf(module: nn.Module) -> bool:
    """Whether a trace keeps a module as one layer.

    It keeps modules of torch without children, the pieces of adapters, a few modules of torchvision, and modules of the
    types that a person added by `operations.add`.
    """
    if isinstance(module, _LEAVES) or is_added(type(module)) or parametrize.is_parametrized(module):
        return True
    if isinstance(module, _CONTAINERS):
        return False
    of_torch = type(module).__module__.startswith(("torch.nn.", "torch.ao.nn."))
    return of_torch and (isinstance(module, nn.MultiheadAttention) or not any(module.children()))

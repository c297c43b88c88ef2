"""Statistics of batch norm as a network has them that has seen pictures; with random ones, gates jump or saturate."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def calibrated(network: nn.Module, seen: Tensor) -> nn.Module:
    """The network in eval mode, with batch norm statistics measured on a batch."""
    norms = [part for part in network.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for part in norms:
        part.reset_running_stats()
        part.momentum = None  # the plain mean
        part.train()
    if norms:
        with torch.no_grad():
            network(seen)
    return network.eval()

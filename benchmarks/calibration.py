"""Realistic statistics of batch norms, measured on a batch. With random statistics, gates jump or saturate."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def calibrated(network: nn.Module, batch: Tensor) -> nn.Module:
    """The network in eval mode, with batch norm statistics measured on a batch."""
    norms = [norm for norm in network.modules() if isinstance(norm, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # None: the plain mean over batches
        norm.train()
    if norms:
        with torch.no_grad():
            network(batch)
    return network.eval()

"""A layer that its network runs under autocast."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from netlens.flat.layers._calls import Wrapper


class Autocast(Wrapper):
    """A layer in the part of a forward that switches autocast on or off.

    Args:
        layer: The layer.
        types: For each type of device, the type in which autocast computes products; None where it is off.
    """

    def __init__(self, layer: nn.Module, types: Sequence[tuple[str, torch.dtype | None]]) -> None:
        super().__init__()
        self.layer, self.types = layer, tuple(types)

    @property
    def inner(self) -> nn.Module:
        return self.layer

    def forward(self, *inputs: Any) -> Any:
        with ExitStack() as stack:
            for device, dtype in self.types:
                if dtype is None and not torch.is_autocast_enabled(device):
                    continue
                stack.enter_context(torch.autocast(device, dtype, enabled=dtype is not None))
            return self.layer(*inputs)

    def extra_repr(self) -> str:
        return ", ".join(f"{device}: {dtype}" for device, dtype in self.types if dtype is not None)

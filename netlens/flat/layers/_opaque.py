"""Opaque layers: parts of a network that could not be unrolled and run as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netlens.errors import TraceError
from netlens.flat.layers._calls import fill
from netlens.flat.twin import throwaway


class Opaque(nn.Module):
    """A module that could not be unrolled.

    It runs on clones of its inputs, so that its in-place operations change no recorded activation. Each call runs a
    throwaway copy of the module, so that the buffers, counters and lists of the module never change.

    Args:
        module: The module to call.
        args: The positional arguments of the call, with a `Slot` in place of each input.
        kwargs: The keyword arguments, likewise.
        reason: The reason why the module could not be unrolled.
        read_later: The indices of the inputs that the network reads again after this layer. If the module changes such
            an input in place, the call raises `TraceError`, because later layers would read the unchanged value.
    """

    def __init__(
        self,
        module: nn.Module,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        reason: str,
        read_later: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.module = module
        self.args = tuple(args)
        self.kwargs = dict(kwargs)
        self.reason = reason
        self.read_later = tuple(read_later)

    def forward(self, *inputs: Any) -> Any:
        with torch.inference_mode(False):  # tensors made in inference mode have no version counter
            # a module that calls `view` needs contiguous inputs
            contiguous = torch.contiguous_format
            clones = [value.clone(memory_format=contiguous) if isinstance(value, Tensor) else value for value in inputs]
        tensors = [clones[i] for i in self.read_later if isinstance(clones[i], Tensor)]
        versions = [tensor._version for tensor in tensors]
        output = throwaway(self.module)(*fill(self.args, clones), **fill(self.kwargs, clones))
        if versions != [tensor._version for tensor in tensors]:
            raise TraceError(
                f"an opaque {type(self.module).__name__} changes its input in place, and the network reads that input "
                f"again afterwards. Let it work on a copy (x.clone()), or make it traceable: {self.reason}."
            )
        return output

    def extra_repr(self) -> str:
        return self.reason

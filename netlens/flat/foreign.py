"""Which layers run code that is neither torch's nor ours, of which nothing is known."""

from __future__ import annotations

from torch import nn

from netlens.flat.layers import Function, Opaque, Wrapper

_KNOWN = ("torch", "torchvision", "_operator", "operator", "builtins", "math", "netlens")


def is_foreign(layer: nn.Module) -> bool:
    """Whether a layer, whatever wraps it, is opaque, or a module or function of the user's own."""
    while isinstance(layer, Wrapper):
        layer = layer.inner
    if isinstance(layer, Opaque):
        return True
    made_by: object = layer.function if isinstance(layer, Function) else type(layer)
    module = getattr(made_by, "__module__", None) or "torch"  # methods of tensors have none
    return module.split(".")[0] not in _KNOWN

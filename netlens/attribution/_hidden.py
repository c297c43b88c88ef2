"""Rectifiers that no rule reaches, because they lie inside layers that the trace left whole."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.utils._python_dispatch import TorchDispatchMode

from netlens.errors import NetLensWarning
from netlens.flat import FlatModel
from netlens.flat.keys import OUTPUT
from netlens.flat.layers import Opaque
from netlens.flat.memory import unmetered
from netlens.flat.operations import RECTIFIERS, innermost
from netlens.flat.running import Tap, tapped, untapped
from netlens.memo import Memo
from netlens.objectives import Objective

_NAMES = {kind.__name__ for kind in RECTIFIERS}
# the functions of torch that every module, function or method of a rectifier calls in the end
_CALLS = {"relu", "relu6", "leaky_relu", "prelu", "_prelu_kernel", "rrelu", "rrelu_with_noise", "threshold"} | {
    *("elu", "celu", "selu", "softplus", "gelu", "silu", "mish", "hardtanh", "hardswish")
}
_CLAMPS = {"clamp", "clamp_min", "clip"}


def warn_of_hidden(flat: FlatModel, x: Tensor, objective: Objective, wrt: str, method: str) -> None:
    """Warn if opaque layers between `wrt` and the objective hold rectifiers, which then keep their true gradient."""
    ends = set(flat.keys_of(objective.layers))
    if OUTPUT in ends:
        ends.update(flat.program.outputs)
    after_wrt = flat.program.reached([wrt]) - {wrt}
    between = [key for key in _opaque(flat) if key in after_wrt and ends & flat.program.reached([key])]
    hidden = [key for key in between if key in hidden_rectifiers(flat, x)]
    if hidden:
        names = ", ".join(map(repr, hidden))
        warnings.warn(
            f"{method} does not reach the rectifiers inside the opaque layers of {flat.name}: {names}. They pass their "
            f"true gradient. Make these parts traceable: {flat.opaque.get(hidden[0], 'see flat.opaque')}.",
            NetLensWarning,
            stacklevel=4,
        )


def hidden_rectifiers(flat: FlatModel, x: Tensor) -> list[str]:
    """The opaque layers that hold rectifiers, as modules or as calls in a run on the first sample of x.

    There is one such run per network.
    """
    keys = _opaque(flat)
    if not keys:
        return []

    def opaque_with_rectifiers() -> list[str]:
        calling = _Calling(flat, keys)
        with torch.no_grad(), unmetered(), untapped(), tapped(calling):
            flat.run({flat.inputs[0]: x[:1]}, flat.program.outputs)
        return [key for key, layer in keys.items() if key in calling.rectifying or _holds_rectifier(layer)]

    return _HIDDEN.of(flat, None, opaque_with_rectifiers)


_HIDDEN: Memo[FlatModel, list[str]] = Memo()


def _opaque(flat: FlatModel) -> dict[str, nn.Module]:
    return {step.key: step.layer for step in flat.program.steps if isinstance(innermost(step.layer), Opaque)}


def _holds_rectifier(layer: nn.Module) -> bool:
    """Whether a layer has a rectifier among its modules, even one that the layer does not call on this input."""
    kinds = (part.original_name if isinstance(part, ScriptModule) else part for part in layer.modules())
    return any(kind in _NAMES if isinstance(kind, str) else isinstance(kind, RECTIFIERS) for kind in kinds)


class _Calling(Tap):
    """Runs opaque layers and records which of them call a rectifier."""

    def __init__(self, flat: FlatModel, layers: Mapping[str, nn.Module]) -> None:
        super().__init__(flat, layers)
        self.layers = layers
        self.rectifying: set[str] = set()

    def layer(self, key: str) -> nn.Module:
        return _Recorded(self.layers[key], key, self.rectifying)

    def value(self, key: str, value: Any) -> Any:
        return value


class _Recorded(nn.Module):
    """A layer that adds its key to `rectifying` if it calls a rectifier."""

    def __init__(self, layer: nn.Module, key: str, rectifying: set[str]) -> None:
        super().__init__()
        self.inner, self.key, self.rectifying = layer, key, rectifying

    def forward(self, *inputs: Any) -> Any:
        with _RectifierCalls() as calls:
            output = self.inner(*inputs)
        if calls.seen_rectifier:
            self.rectifying.add(self.key)
        return output


class _RectifierCalls(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen_rectifier = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        keywords = {} if kwargs is None else kwargs
        name = func._overloadpacket.__name__.rstrip("_")
        from_zero = name in _CLAMPS and (args[1] if len(args) > 1 else keywords.get("min")) == 0
        self.seen_rectifier |= from_zero or name in _CALLS
        return func(*args, **keywords)

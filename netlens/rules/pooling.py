"""Max pools: the change of the largest value of each window goes to the places where that value was and is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from netlens.flat.layers import Function
from netlens.flat.operations import innermost, name_of
from netlens.rules.calls import tensors
from netlens.rules.selections import by_rank

WINDOWED: dict[type[nn.Module], Any] = {
    nn.MaxPool1d: F.max_pool1d,
    nn.MaxPool2d: F.max_pool2d,
    nn.MaxPool3d: F.max_pool3d,
}
ADAPTIVE: dict[type[nn.Module], Any] = {
    nn.AdaptiveMaxPool1d: F.adaptive_max_pool1d,
    nn.AdaptiveMaxPool2d: F.adaptive_max_pool2d,
    nn.AdaptiveMaxPool3d: F.adaptive_max_pool3d,
}
POOLS: tuple[type[nn.Module], ...] = (*WINDOWED, *ADAPTIVE)
_DIMENSIONS = {kind: i % 3 + 1 for i, kind in enumerate(POOLS)}


def max_pool(
    layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Any
) -> Sequence[Tensor | None]:
    """The multipliers of a max pool: a rise goes to the place of the largest value, a fall to its former place.

    Overlapping windows add up. Padding is never a maximum.
    """
    gradient = gradient if isinstance(gradient, Tensor) else gradient[0]
    if gradient is None:  # only the indices are read
        return (None,)
    inner: Any = innermost(layer)
    kind = next(kind for kind in POOLS if isinstance(inner, kind))

    def pooled(value: Tensor) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor]
        if kind in ADAPTIVE:
            result = ADAPTIVE[kind](value, inner.output_size, return_indices=True)
        else:
            sizes = (inner.kernel_size, inner.stride, inner.padding, inner.dilation)
            result = WINDOWED[kind](value, *sizes, ceil_mode=inner.ceil_mode, return_indices=True)
        return result

    flat = -_DIMENSIONS[kind]
    x, r = inputs[0], tensors(reference)[0]
    (out, here), (before, there) = ([part.flatten(flat) for part in pooled(value)] for value in (x, r))
    found = by_rank(x.flatten(flat), r.flatten(flat), out, before, here, there, gradient.flatten(flat))
    return (found.view(x.shape),)


def largest(layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor) -> Sequence[Tensor]:
    """The multipliers of `amax` and `amin` over whole dimensions, as those of `max_pool`."""
    inner = innermost(layer)
    assert isinstance(inner, Function)
    given = {**dict(zip(("input", "dim", "keepdim"), inner.args, strict=False)), **inner.kwargs}
    dims = given.get("dim", ())
    x, r = inputs[0], tensors(reference)[0]
    sign = -1 if name_of(inner) == "amin" else 1
    dims = [dims] if isinstance(dims, int) else list(dims)
    dims = sorted(d % x.ndim for d in (dims if dims else range(x.ndim)))
    order = [d for d in range(x.ndim) if d not in dims] + dims
    rows = [sign * value.permute(order).flatten(x.ndim - len(dims)) for value in (x, r)]
    (out, here), (before, there) = (value.max(-1, keepdim=True) for value in rows)
    found = by_rank(rows[0], rows[1], out, before, here, there, gradient.reshape(out.shape))
    moved = found.view([x.shape[d] for d in order])
    return (moved.permute([order.index(d) for d in range(x.ndim)]),)

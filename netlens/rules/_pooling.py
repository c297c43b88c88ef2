"""Max pools: the change of a maximum goes to the pixel that is the maximum in the input, or in the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from netlens.flat.layers import Function
from netlens.flat.operations import innermost, name_of
from netlens.rules._calls import tensors
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
    """The multipliers of a max pool, as in `by_rank`.

    If the maximum of a window rises, the change goes to the maximum in the input. If it falls, the change goes to the
    maximum in the reference. The multipliers of overlapping windows are added. Padding is never a maximum.
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
    (x_value, x_index), (r_value, r_index) = ([tensor.flatten(flat) for tensor in pooled(value)] for value in (x, r))
    multipliers = by_rank(x.flatten(flat), r.flatten(flat), x_value, r_value, x_index, r_index, gradient.flatten(flat))
    return (multipliers.view(x.shape),)


def largest(layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor) -> Sequence[Tensor]:
    """The multipliers of `amax` and `amin` over one or several dimensions, as in `max_pool`."""
    inner = innermost(layer)
    assert isinstance(inner, Function)
    arguments = {**dict(zip(("input", "dim", "keepdim"), inner.args, strict=False)), **inner.kwargs}
    dims = arguments.get("dim", ())
    x, r = inputs[0], tensors(reference)[0]
    sign = -1 if name_of(inner) == "amin" else 1
    dims = [dims] if isinstance(dims, int) else list(dims)
    dims = sorted(d % x.ndim for d in (dims if dims else range(x.ndim)))
    order = [d for d in range(x.ndim) if d not in dims] + dims
    rows = [sign * value.permute(order).flatten(x.ndim - len(dims)) for value in (x, r)]
    (x_value, x_index), (r_value, r_index) = (value.max(-1, keepdim=True) for value in rows)
    multipliers = by_rank(rows[0], rows[1], x_value, r_value, x_index, r_index, gradient.reshape(x_value.shape))
    moved = multipliers.view([x.shape[d] for d in order])
    return (moved.permute([order.index(d) for d in range(x.ndim)]),)

"""Softmax, its logarithm, and the logarithm of a sum of exponentials, by the slopes of their parts.

The softmax is e^(x - lse), where lse is the logarithm of the sum of all e^x. A quotient of e^x and their sum could
overflow; here all values stay in [0, 1], however far the scores are from those of the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netlens.flat.layers import Function
from netlens.flat.operations import innermost
from netlens.rules._calls import tensors, wide
from netlens.rules._secant import log_mean

SOFTMAXES: tuple[type[nn.Module], ...] = (nn.Softmax, nn.Softmax2d, nn.LogSoftmax)


def log_sum(layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor) -> Sequence[Tensor]:
    """The multipliers of the logarithm of a sum of exponentials."""
    inner: Any = innermost(layer)
    dims, keepdim = _along(inner) if isinstance(inner, Function) else (inner.dim, inner.keepdim)
    x, r = (wide(layer, value) for value in (inputs[0], *tensors(reference)))
    highest = torch.maximum(x, r).amax(dims, keepdim=True)
    x, r = x - highest, r - highest  # it only adds to both
    weights = log_mean(x, r) / log_mean(x.logsumexp(dims, keepdim=True), r.logsumexp(dims, keepdim=True))
    return ((weights * (gradient if keepdim else gradient.reshape(highest.shape))).to(inputs[0].dtype),)


def _along(layer: Function) -> tuple[Any, bool]:
    """The dimensions of a call of `logsumexp`, and whether it keeps them."""
    given = {**dict(zip(("input", "dim", "keepdim"), layer.args, strict=False)), **layer.kwargs}
    return given["dim"], given.get("keepdim", False)


def softmax(layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor) -> Sequence[Tensor]:
    """The multipliers of `nn.Softmax` and `nn.LogSoftmax`. Scores under a mask, -inf in both runs, get 0."""
    inner: Any = innermost(layer)
    dim = -3 if isinstance(inner, nn.Softmax2d) else inner.dim
    x, r = (wide(layer, value) for value in (inputs[0], *tensors(reference)))
    highest = torch.maximum(x, r).amax(dim, keepdim=True)
    x, r = x - highest, r - highest  # the same for both, or the shift itself would need a share
    total, before = (value.logsumexp(dim, keepdim=True) for value in (x, r))
    if not isinstance(inner, nn.LogSoftmax):
        gradient = gradient * log_mean(x - total, r - before)
    # the slope of the logarithm is one over the logarithmic mean of both sums
    weights = log_mean(x, r) / log_mean(total, before)
    return ((gradient - weights * gradient.sum(dim, keepdim=True)).to(inputs[0].dtype),)

"""The multipliers of the softmax, of its logarithm, and of the logarithm of a sum of exponentials.

The softmax is e^(x - lse), where lse is the logarithm of the sum of all e^x. The multipliers are the slopes of these
functions. Written in this form, no value leaves [0, 1], even if the scores differ much from those of the reference.
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
    dims, keepdim = _dims(inner) if isinstance(inner, Function) else (inner.dim, inner.keepdim)
    x, r = (wide(layer, value) for value in (inputs[0], *tensors(reference)))
    highest = torch.maximum(x, r).amax(dims, keepdim=True)
    x, r = x - highest, r - highest  # the same shift for both does not change the slope
    weights = log_mean(x, r) / log_mean(x.logsumexp(dims, keepdim=True), r.logsumexp(dims, keepdim=True))
    return ((weights * (gradient if keepdim else gradient.reshape(highest.shape))).to(inputs[0].dtype),)


def _dims(layer: Function) -> tuple[Any, bool]:
    """The dimensions of a call of `logsumexp`, and whether it keeps them."""
    arguments = {**dict(zip(("input", "dim", "keepdim"), layer.args, strict=False)), **layer.kwargs}
    return arguments["dim"], arguments.get("keepdim", False)


def softmax(layer: nn.Module, inputs: Sequence[Tensor], reference: Sequence[Any], gradient: Tensor) -> Sequence[Tensor]:
    """The multipliers of `nn.Softmax` and `nn.LogSoftmax`. A masked score (-inf in both runs) gets 0."""
    inner: Any = innermost(layer)
    dim = -3 if isinstance(inner, nn.Softmax2d) else inner.dim
    x, r = (wide(layer, value) for value in (inputs[0], *tensors(reference)))
    highest = torch.maximum(x, r).amax(dim, keepdim=True)
    x, r = x - highest, r - highest  # the same shift for both does not change the slope
    x_total, r_total = (value.logsumexp(dim, keepdim=True) for value in (x, r))
    if not isinstance(inner, nn.LogSoftmax):
        gradient = gradient * log_mean(x - x_total, r - r_total)
    # the slope of the logarithm is 1 divided by the logarithmic mean of both sums
    weights = log_mean(x, r) / log_mean(x_total, r_total)
    return ((gradient - weights * gradient.sum(dim, keepdim=True)).to(inputs[0].dtype),)
